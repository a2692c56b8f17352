//! kill -9 of either process under load: answered <= billed <= answered + cut off, and the database equals the journal.

use std::{collections::HashMap, path::Path, time::Duration};

use tempfile::TempDir;
use tollgate_journal::Position;
use tollgate_tests::{
    app::Stack,
    process::Process,
    traffic::Traffic,
    wait::{HANGS_AFTER, eventually, within_promise},
};

use crate::processes::{api_and_worker, billed_becomes, boundless_key, settings};

const KILLS: usize = 3;
const CLIENTS: usize = 8;
/// Checks between two kills: some batches are stored, some are under way, some are only in the journal.
const BETWEEN: u64 = 400;

/// Units in the journals of dead processes, read from the disk as `tollgate_service` writes them: a record of an admitted
/// request is a 1, two ids of 16 bytes, a time of 8 and the units in 4.
fn journaled(folder: &Path, boots: &mut HashMap<String, u64>) {
    for mut stream in tollgate_journal::abandoned(folder).expect("the journal's folder") {
        let (mut at, mut units) = (Position::new(0), 0);
        loop {
            let next = stream.read(at, 1 << 20, |_, record| {
                if record[0] == 1 {
                    units += u64::from(u32::from_le_bytes(record[41..45].try_into().expect("four bytes")));
                }
            });
            let next = next.expect("a journal without damage");
            if next == at {
                break;
            }
            at = next;
        }
        boots.insert(stream.boot().to_string(), units);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_counted_is_lost_or_doubled_when_processes_are_killed() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let (mut api, mut worker) = api_and_worker(&stack, &journal).await;
    let key = boundless_key(&api.admin()).await;
    let mut boots = HashMap::new();
    let traffic = Traffic::start(&api.client().with_credential(&key.secret), CLIENTS);
    for _ in 0..KILLS {
        traffic.allowed_more(BETWEEN).await;
        worker.kill();
        traffic.allowed_more(BETWEEN).await;
        worker.start();
        traffic.allowed_more(BETWEEN).await;
        api.kill();
        journaled(journal.path(), &mut boots);
        api.start_ready().await;
    }
    traffic.allowed_more(BETWEEN).await;
    let told = traffic.stop().await;
    api.kill();
    journaled(journal.path(), &mut boots);
    api.start_ready().await;

    assert_eq!(boots.len(), KILLS + 1, "{boots:?}");
    let in_journal: u64 = boots.values().sum();
    let (allowed, cut) = (told.allowed(), told.cut());
    eprintln!("answered {allowed}, in the journal {in_journal}, cut off {cut}");
    // A service that is starting says 503, and nothing else was ever wrong.
    assert_eq!((told.refused(), told.failed()), (0, 0));
    assert!(allowed <= in_journal, "answered {allowed}, but only {in_journal} are in the journal");
    assert!(in_journal <= allowed + cut, "{in_journal} in the journal of {allowed} answered and {cut} cut off");
    billed_becomes(&api.admin(), &key, in_journal).await;
    assert_eq!(api.admin().get("/api/v1/jobs/dead").await.expect(200).body["pagination"]["total"], 0);
}

/// SIGTERM under load, behind a balancer that takes its traffic away once `/ready` says no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_answers_what_it_has_begun_and_stores_what_it_has_answered() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let mut with_drain = settings(&stack, &journal);
    with_drain.extend([("worker.in_process", "true"), ("api.drain_seconds", "3")]);
    let mut api = Process::api(&with_drain);
    api.start_ready().await;
    let key = boundless_key(&api.admin()).await;
    let traffic = Traffic::start(&api.client().with_credential(&key.secret), CLIENTS);
    traffic.allowed_more(BETWEEN).await;
    api.terminate();
    within_promise("/ready says no while checks still pass", Duration::from_secs(1), async || {
        (api.client().get("/ready").await.status == 503).then_some(())
    })
    .await;
    traffic.allowed_more(50).await;
    let told = traffic.stop().await;
    assert!(api.ended().success());
    assert_eq!((told.failed(), told.unavailable(), told.cut()), (0, 0, 0), "every request that was sent is answered");
    let mut boots = HashMap::new();
    journaled(journal.path(), &mut boots);
    assert!(boots.is_empty() || boots.values().sum::<u64>() == told.allowed(), "{boots:?}");
    api.start_ready().await;
    billed_becomes(&api.admin(), &key, told.allowed()).await;
}

/// The embedded shape, one process with everything in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_service_loses_nothing_counted_either() {
    let (stack, journal) = (Stack::embedded(), TempDir::new().unwrap());
    let mut api = Process::api(&settings(&stack, &journal));
    api.start_ready().await;
    let key = boundless_key(&api.admin()).await;
    let traffic = Traffic::start(&api.client().with_credential(&key.secret), CLIENTS);
    for _ in 0..KILLS {
        traffic.allowed_more(BETWEEN).await;
        api.kill();
        api.start_ready().await;
    }
    let told = traffic.stop().await;
    let mut boots = HashMap::new();
    api.kill();
    journaled(journal.path(), &mut boots);
    api.start_ready().await;
    let admin = api.admin();
    let billed = eventually("the journals of dead processes are stored", HANGS_AFTER, async || {
        let billed = crate::processes::billed(&admin, &key).await?;
        (billed >= told.allowed()).then_some(billed)
    })
    .await;
    assert!(billed <= told.allowed() + told.cut(), "billed {billed}, answered {}, cut {}", told.allowed(), told.cut());
}

//! `kill -9` of a real process takes nothing that it had acknowledged.
use crate::child::{self, Process};
use crate::util::{SMALL, boot, payload, read_over};
use std::collections::HashSet;
use std::thread;
use tollgate_journal::{Journal, abandoned};

const WRITERS: u64 = 2;

#[test]
fn everything_acknowledged_before_kill_9_is_in_the_journal() {
    for killed_after in [1, 30, 400, 2_000, 5_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut process = child::spawn(&[], "kill::child_that_appends_until_killed", dir.path());
        let mut acknowledged: HashSet<u64> = (0..killed_after).map(|_| number(&mut process).unwrap()).collect();
        process.kill();
        acknowledged.extend(std::iter::from_fn(|| number(&mut process)));
        assert!(!process.succeeded());
        let mut streams = abandoned(dir.path()).unwrap();
        let (records, skipped) = read_over(&mut streams[0]);
        let recorded: HashSet<u64> =
            records.iter().map(|(_, r)| u64::from_le_bytes(r[..8].try_into().unwrap())).collect();
        assert!(skipped.is_empty());
        assert_eq!(recorded.len(), records.len(), "no record twice");
        assert!(records.iter().all(|(_, r)| {
            let n = u64::from_le_bytes(r[..8].try_into().unwrap());
            *r == record(n)
        }));
        assert!(acknowledged.is_subset(&recorded));
        let cut_off = recorded.difference(&acknowledged).count() as u64;
        assert!(cut_off <= WRITERS, "{cut_off} records that nobody was told of, from {WRITERS} writers");
    }
}

fn number(process: &mut Process) -> Option<u64> {
    process.line().map(|line| line.parse().unwrap())
}

fn record(n: u64) -> Vec<u8> {
    payload(n, 8 + (n as usize * 7) % 900)
}

#[test]
#[ignore = "a process that another test starts"]
fn child_that_appends_until_killed() {
    let Some(dir) = child::dir() else { return };
    let journal = Journal::open(&dir, boot(1), SMALL).unwrap();
    thread::scope(|s| {
        for writer in 0..WRITERS {
            let journal = &journal;
            s.spawn(move || {
                for n in (writer..).step_by(WRITERS as usize) {
                    journal.append(&record(n)).unwrap();
                    child::say(&n.to_string());
                }
            });
        }
    });
}

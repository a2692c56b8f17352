//! Months are closed while the workers are killed, and by two of them at a time: every record is written once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::{
    answer::Client,
    app::Stack,
    process::Process,
    wait::{HANGS_AFTER, eventually},
};

use crate::processes::settings;

const KEYS: usize = 60;
const MONTHS: usize = 24;
/// How long the workers are killed, each after 0.05 to 0.4 s.
const KILLED_FOR: Duration = Duration::from_secs(45);

/// An API that leaves the jobs to two workers, which have not started. Years of months are due.
struct Running {
    workers: [Process; 2],
    api: Process,
    admin: Client,
    _stores: (Stack, TempDir),
}

impl Running {
    async fn start() -> Self {
        let stores = (Stack::production().await, TempDir::new().unwrap());
        let mut settings = settings(&stores.0, &stores.1);
        settings.push(("worker.in_process", "false"));
        let mut api = Process::api(&settings);
        api.start_ready().await;
        let admin = api.admin();
        due(&stores.0, &admin).await;
        let workers = [Process::worker(&settings), Process::worker(&settings)];
        Self { workers, api, admin, _stores: stores }
    }
}

/// Keys whose last two years are due.
async fn due(stack: &Stack, admin: &Client) {
    for number in 0..KEYS {
        let body = json!({"name": format!("key {number}"), "tier": "standard"});
        admin.post("/api/v1/api-keys", &body).await.expect(201);
    }
    let month = "date_trunc('month', now() at time zone 'UTC')";
    for text in [
        format!("update billing_accounts set next_period = ({month} - interval '{MONTHS} months') at time zone 'UTC'"),
        format!(
            "insert into usage_periods (tenant_id, api_key_id, period_start, allowed, rate_limited, quota_exceeded, rejected, last_at,
                event_units)
             select tenant_id, api_key_id, ({month} - make_interval(months => i)) at time zone 'UTC', 100000 + i, 0, 0, 0, now(),
                100000 + i
             from billing_accounts cross join generate_series(1, {MONTHS}) i"
        ),
        "insert into usage_segments select tenant_id, api_key_id, period_start, period_start, allowed from usage_periods".into(),
        "insert into usage_days select tenant_id, api_key_id, period_start, allowed, 0, 0, 0 from usage_periods".into(),
        "insert into usage_hours select tenant_id, api_key_id, period_start, allowed, 0, 0, 0 from usage_periods".into(),
    ] {
        stack.sql(&text).await.unwrap();
    }
}

async fn total(admin: &Client, query: &str) -> usize {
    let list = admin.get(&format!("/api/v1/billing/records?limit=1{query}")).await.expect(200);
    usize::try_from(list.body["pagination"]["total"].as_u64().unwrap()).unwrap()
}

/// Waits until every month has its records, and sees that each is there once and adds up.
async fn all_closed(admin: &Client) {
    eventually("all months are closed", HANGS_AFTER * 2, async || {
        (total(admin, "").await >= KEYS * MONTHS).then_some(())
    })
    .await;
    assert_eq!((total(admin, "").await, total(admin, "&status=void").await), (KEYS * MONTHS, 0));
    let summary = admin.get("/api/v1/billing/summary").await.expect(200).data().clone();
    let units: usize = (1..=MONTHS).map(|month| KEYS * (100_000 + month)).sum();
    let row: &Value = &summary[0];
    assert_eq!((&row["records"], &row["units"]), (&json!(KEYS * MONTHS), &json!(units)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_write_every_record_once() {
    let mut running = Running::start().await;
    let (began, mut kills) = (Instant::now(), 0_u64);
    while began.elapsed() < KILLED_FOR {
        for worker in &mut running.workers {
            worker.start();
            // Spread over the range, and the same in every run.
            tokio::time::sleep(Duration::from_millis(50 + kills * 37 % 350)).await;
            worker.kill();
            kills += 1;
        }
    }
    let written = total(&running.admin, "").await;
    eprintln!("{kills} kills, {written} of {} records before the last", KEYS * MONTHS);
    running.workers.iter_mut().for_each(Process::start);
    all_closed(&running.admin).await;
    for worker in &mut running.workers {
        worker.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_close_the_same_keys_without_an_error() {
    let mut running = Running::start().await;
    running.workers.iter_mut().for_each(Process::start);
    all_closed(&running.admin).await;
    for worker in &mut running.workers {
        worker.stop();
        let wrong = worker.lines_with("ERROR") + worker.lines_with("WARN");
        assert_eq!(wrong, 0, "{}", worker.text());
    }
    assert_eq!(running.api.lines_with("ERROR"), 0, "{}", running.api.text());
    assert_eq!(running.admin.get("/api/v1/jobs/dead").await.expect(200).body["pagination"]["total"], 0);
}

//! How long a month takes to be closed, and its records to be read: `make bench-billing`. `KEYS` (100,000 unless set) are closed
//! on SQLite within `tollgate-api`, and on PostgreSQL by one and by two `tollgate-worker`; then `RECORDS` (1,000,000) are read.

mod data;
mod reads;

use std::time::{Duration, Instant};

use data::Store;
use tempfile::TempDir;
use tollgate_tests::{database::migrated_on, machine, postgres::Postgres, process::Process, redis::Redis};

const WORKERS: [usize; 2] = [1, 2];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::main]
async fn main() {
    let (keys, records) = (number("KEYS", 100_000), number("RECORDS", 1_000_000));
    println!("{}; {keys} keys with usage on two prices, {records} records", machine::model());
    println!("\n| closing a month | s | keys/s | memory of the worker |\n|---|---:|---:|---:|");
    on_sqlite(keys, records).await;
    on_postgres(keys, records).await;
}

async fn on_sqlite(keys: u64, records: u64) {
    let dir = TempDir::new().expect("a temporary folder");
    let url = format!("sqlite://{}", dir.path().join("tollgate.db").display());
    let journal = dir.path().join("journal").display().to_string();
    let settings = [("database.url", url.as_str()), ("journal.dir", &journal), ("limiter.snapshot", "")];
    let mut api = Process::api(&settings);
    api.start_ready().await;
    api.stop();
    let store = Store::open(&url).await;
    store.fill(keys).await;
    let began = Instant::now();
    api.start_ready().await;
    let (taken, memory) = closed(&store, keys, began, &[api.pid()]).await;
    row("SQLite, within the API", keys, taken, memory);
    reads::measure(&store, &api, "SQLite", records).await;
}

async fn on_postgres(keys: u64, records: u64) {
    if !(Postgres::is_installed() && Redis::is_installed()) {
        return println!("PostgreSQL or Redis is not installed: not measured on them");
    }
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = migrated_on(&postgres).await;
    let dir = TempDir::new().expect("a temporary folder");
    let journal = dir.path().join("journal").display().to_string();
    let (url, limiter, queue) = (database.url(), redis.url_of(0), redis.url_of(1));
    let settings = [
        ("database.url", url.as_str()),
        ("limiter.url", &limiter),
        ("queue.url", &queue),
        ("journal.dir", &journal),
        ("worker.in_process", "false"),
    ];
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let store = Store::open(&url).await;
    for (round, count) in WORKERS.into_iter().enumerate() {
        if round == 0 {
            store.fill(keys).await;
        } else {
            store.open_again().await;
        }
        let mut workers: Vec<_> = (0..count).map(|_| Process::worker(&settings)).collect();
        let began = Instant::now();
        workers.iter_mut().for_each(Process::start);
        let pids: Vec<_> = workers.iter().map(Process::pid).collect();
        let (taken, memory) = closed(&store, keys, began, &pids).await;
        row(&format!("PostgreSQL, {count} worker{}", if count == 1 { "" } else { "s" }), keys, taken, memory);
        for worker in &mut workers {
            worker.stop();
        }
    }
    reads::measure(&store, &api, "PostgreSQL", records).await;
    drop(postgres);
}

/// Waits until every key has its record. From the start of what closes them, less the time until the first record.
async fn closed(store: &Store, keys: u64, began: Instant, pids: &[u32]) -> (Duration, u64) {
    let (mut first, mut most) = (None, 0);
    loop {
        let records = store.count("select count(*) from billing_records where status = 'closed'").await;
        let now = Instant::now();
        most = most.max(pids.iter().map(|pid| machine::resident(*pid).0).max().unwrap_or(0));
        if records > 0 && first.is_none() {
            first = Some(now);
        }
        if records == keys {
            return (now - first.unwrap_or(began), most);
        }
        assert!(began.elapsed() < Duration::from_secs(900), "{records} of {keys} after a quarter of an hour");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn row(what: &str, keys: u64, taken: Duration, memory: u64) {
    let seconds = taken.as_secs_f64();
    println!("| {what} | {seconds:.1} | {:.0} | {} MB |", keys as f64 / seconds, memory >> 20);
}

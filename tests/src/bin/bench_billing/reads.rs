//! What is read of many records: sums, pages, and a whole export.

use std::time::{Duration, Instant};

use tollgate_tests::{BOOTSTRAP_TOKEN, machine, process::Process};

use crate::data::Store;

const ROUNDS: usize = 15;

pub(crate) async fn measure(store: &Store, api: &Process, engine: &str, records: u64) {
    store.multiply(records).await;
    let count = store.count("select count(*) from billing_records").await;
    println!("\n| {engine}, {count} records | median |\n|---|---:|");
    for path in [
        "/api/v1/billing/summary",
        "/api/v1/billing/summary?group_by=owner",
        "/api/v1/billing/records?limit=100&order=desc",
        "/api/v1/billing/records?limit=100&page=500",
        "/api/v1/billing/records?owner_id=owner%2077",
        "/api/v1/billing/records?payment_status=pending&order_by=amount_due",
    ] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            api.admin().get(path).await.expect(200);
            times.push(began.elapsed());
        }
        times.sort_unstable();
        println!("| `GET {path}` | {:.0} ms |", times[ROUNDS / 2].as_secs_f64() * 1_000.0);
    }
    export(api).await;
}

/// Reads all lines as CSV.
async fn export(api: &Process) {
    let (before, began) = (machine::resident(api.pid()).0, Instant::now());
    let url = format!("{}/api/v1/billing/export?start=2000-01&end=2100-01&kind=lines&format=csv", api.client().base());
    let request = reqwest::Client::new().get(url).bearer_auth(BOOTSTRAP_TOKEN);
    let mut response = request.send().await.expect("an answer");
    let (mut rows, mut most) = (0_u64, 0);
    let mut looked = Instant::now();
    while let Some(chunk) = response.chunk().await.expect("the whole export") {
        rows += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        if looked.elapsed() > Duration::from_millis(100) {
            (looked, most) = (Instant::now(), most.max(machine::resident(api.pid()).0));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let grown = most.saturating_sub(before) >> 20;
    println!("\nExport of {rows} lines as CSV: {:.0} lines/s; the process grew by {grown} MB", rows as f64 / seconds);
}

//! What the stories about faults share: `tollgate-api` and `tollgate-worker` as processes on PostgreSQL and Redis.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{
    answer::{Client, try_send},
    app::{Key, Stack},
    process::Process,
    wait::eventually,
};

/// A job that was under way in a killed worker is taken over within its lease, which is 15 s.
pub(crate) const RECOVERED_WITHIN: Duration = Duration::from_secs(90);

/// Settings of both processes; the journal stands in `journal`.
pub(crate) fn settings<'a>(stack: &'a Stack, journal: &'a TempDir) -> Vec<(&'a str, &'a str)> {
    let mut settings = stack.settings();
    settings.extend([
        ("journal.dir", journal.path().to_str().expect("a path in UTF-8")),
        ("journal.segment_mib", "1"),
        ("api.drain_seconds", "0"),
        ("log.format", "json"),
    ]);
    settings
}

/// An api and a worker beside it, both ready.
pub(crate) async fn api_and_worker(stack: &Stack, journal: &TempDir) -> (Process, Process) {
    let mut settings = settings(stack, journal);
    settings.push(("worker.in_process", "false"));
    let (mut api, mut worker) = (Process::api(&settings), Process::worker(&settings));
    api.start_ready().await;
    worker.start_ready().await;
    (api, worker)
}

/// A key that is never refused.
pub(crate) async fn boundless_key(admin: &Client) -> Key {
    let plan = json!({
        "name": "boundless",
        "limits": [{"name": "per-hour", "limit": 1_000_000_000, "window": 3_600}],
        "quota": {"limit": 1_000_000_000, "overage": "bill"},
        "prices": {"currency": "USD", "base": "0", "overage_unit": "0.001"},
    });
    admin.post("/api/v1/plans", &plan).await.expect(201);
    key_on(admin, "boundless").await
}

/// A key on a plan.
pub(crate) async fn key_on(admin: &Client, tier: &str) -> Key {
    let made = admin.post("/api/v1/api-keys", &json!({"name": "a story's key", "tier": tier})).await.expect(201);
    let record = made.data().clone();
    let text = |member: &str| record[member].as_str().expect("a text").to_owned();
    Key { id: text("id"), secret: text("key"), record }
}

/// Units in the database now.
pub(crate) async fn billed(admin: &Client, key: &Key) -> Option<u64> {
    let answer =
        try_send(admin.request(reqwest::Method::GET, &format!("/api/v1/usage/{}/current", key.id))).await.ok()?;
    answer.body["data"]["requests_made"].as_u64()
}

/// Waits until the database holds exactly as many units; more is a failure at once.
pub(crate) async fn billed_becomes(admin: &Client, key: &Key, units: u64) {
    let what = format!("{units} units are in the database");
    eventually(&what, RECOVERED_WITHIN, async || {
        let now = billed(admin, key).await;
        assert!(now.is_none_or(|now| now <= units), "billed {now:?}, which is more than {units}");
        (now == Some(units)).then_some(())
    })
    .await;
}

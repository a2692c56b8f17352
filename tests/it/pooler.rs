//! PostgreSQL behind a pooler in transaction mode: two nodes and a worker share a handful of its connections.

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{app::Stack, database, pgbouncer::PgBouncer, process::Process, redis::Redis};

use crate::processes::{billed_becomes, boundless_key};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";

/// What stands in the way of these stories, said aloud; in CI nothing may.
fn is_missing() -> bool {
    let missing = !PgBouncer::is_installed();
    assert!(!missing || std::env::var_os("CI").is_none(), "pgbouncer is missing, and CI skips nothing");
    if missing {
        eprintln!("SKIPPED: pgbouncer is not installed");
    }
    missing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_and_a_worker_count_and_bill_behind_a_pooler() {
    if is_missing() {
        return;
    }
    let (database, redis) = (database::migrated().await, Redis::start());
    let pooler = PgBouncer::before(database.port());
    let (url, limiter, queue) = (database.url_through(pooler.port()), redis.url_of(0), redis.url_of(1));
    let journals = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let settings = |journal: usize| {
        vec![
            ("database.url", url.as_str()),
            ("database.pooler", "true"),
            ("limiter.url", &limiter),
            ("limiter.call_budget_ms", "1000"),
            ("queue.url", &queue),
            ("worker.in_process", "false"),
            ("journal.dir", journals[journal].path().to_str().unwrap()),
        ]
    };
    let mut nodes = [Process::api(&settings(0)), Process::api(&settings(1))];
    // At once, so that both migrate and make the first token over the same connections.
    nodes.iter_mut().for_each(Process::start);
    for node in &mut nodes {
        node.ready().await;
    }
    let mut worker = Process::worker(&settings(0));
    worker.start_ready().await;
    let admin = nodes[0].admin();
    let key = boundless_key(&admin).await;
    let holders = nodes.each_ref().map(|node| node.client().with_credential(&key.secret));
    for check in 0..40 {
        holders[check % 2].post(VALIDATE, &json!({"endpoint": format!("GET /{check}")})).await.expect(200);
    }
    let list = admin.get("/api/v1/api-keys?search=e&limit=5").await.expect(200);
    assert_eq!(list.body["pagination"]["total"], 1, "{}", list.text);
    billed_becomes(&admin, &key, 40).await;
    for process in nodes.iter_mut().chain([&mut worker]) {
        let said = process.text();
        assert!(!said.contains("prepared statement"), "{said}");
        assert!(process.stop().success(), "{}", process.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_was_not_named_stops_the_start_with_the_setting_that_is_missing() {
    if is_missing() {
        return;
    }
    let stack = Stack::production().await;
    let database = database::migrated().await;
    let (pooler, journal) = (PgBouncer::before(database.port()), TempDir::new().unwrap());
    let url = database.url_through(pooler.port());
    let mut settings = stack.settings();
    settings.extend([("database.url", url.as_str()), ("journal.dir", journal.path().to_str().unwrap())]);
    let mut api = Process::api(&settings);
    api.start();
    assert!(!api.ended().success());
    assert!(api.text().contains("set database.pooler = true"), "{}", api.text());
}

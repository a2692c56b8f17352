//! The embedded service, stopped and started again: what `make run` starts.

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{
    answer::Answer,
    app::{Key, Stack},
    process::Process,
};

use crate::processes::{billed_becomes, key_on, settings};

async fn validate(api: &Process, key: &Key, requests: u64) -> Answer {
    let client = api.client().with_credential(&key.secret);
    client.post("/api/public/v1/rate-limit/validate", &json!({"requests": requests})).await
}

#[tokio::test]
async fn a_restart_keeps_keys_usage_and_window_counters() {
    let (stack, journal) = (Stack::embedded(), TempDir::new().unwrap());
    let snapshot = journal.path().join("limiter.snapshot").display().to_string();
    let mut settings = settings(&stack, &journal);
    settings.push(("limiter.snapshot", &snapshot));
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let key = key_on(&api.admin(), "free").await;
    validate(&api, &key, 60).await.expect(200);
    for starts in 1..=3 {
        assert!(api.stop().success());
        api.start_ready().await;
        let look = validate(&api, &key, 0).await.expect(200);
        // The sliding window forgets by itself; a run that crosses an hour may see more left, never less.
        let left = look.body["remaining"].as_u64().unwrap();
        assert!((40..=42).contains(&left), "after start {starts}: {}", look.text);
        assert_eq!(look.body["quota"]["used"], 60);
        billed_becomes(&api.admin(), &key, 60).await;
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_stop_the_start_with_one_clear_message() {
    let cases = [
        ("api.max_connections", "0", "api.max_connections"),
        ("database.url", "mysql://user:hunter2@host/name", "database.url"),
        ("api.listne", "127.0.0.1:0", "listne"),
        ("queue.url", "carrier-pigeon:", "queue.url"),
    ];
    for (key, value, words) in cases {
        let mut api = Process::api(&[(key, value)]);
        api.start();
        assert_eq!(api.ended().code(), Some(1), "{key}");
        let text = api.text();
        assert!(text.contains(words) && text.trim().lines().count() == 1, "{key}: {text}");
        assert!(!text.contains("hunter2") && !text.contains("panicked"), "{text}");
    }
}

#[tokio::test]
async fn the_first_start_prints_a_token_and_a_line_that_works_when_pasted() {
    let (stack, journal) = (Stack::embedded(), TempDir::new().unwrap());
    let settings = settings(&stack, &journal);
    let mut api = Process::api(&settings).with(&[("log.format", "pretty")]).without_bootstrap_token();
    api.start_ready().await;
    let text = api.text();
    let line = text.lines().find(|line| line.trim_start().starts_with("curl ")).unwrap_or_else(|| panic!("{text}"));
    let pasted = std::process::Command::new("sh").args(["-c", line.trim()]).output().expect("a shell");
    let answer: serde_json::Value = serde_json::from_slice(&pasted.stdout)
        .unwrap_or_else(|error| panic!("{error}: {line}\n{}", String::from_utf8_lossy(&pasted.stdout)));
    assert!(pasted.status.success() && answer.get("code").is_none(), "{answer}");
    let token = text.split_whitespace().find(|word| word.starts_with("tgt_admin_")).expect("an admin token");
    api.client().with_credential(token).get("/api/v1/plans").await.expect(200);

    assert!(api.stop().success());
    api.start_ready().await;
    assert_eq!(api.text().matches("\ncurl ").count(), text.matches("\ncurl ").count(), "printed once: {}", api.text());
}

//! Settings as operators give them: in the environment, in a file, and secrets in files that are mounted.

use std::{fs, path::Path, sync::Arc};

use reqwest::Method;
use tempfile::TempDir;
use tollgate_tests::{
    BOOTSTRAP_TOKEN,
    answer::send,
    app::{App, Stack},
    process::Process,
    wait::free_port,
};

use crate::processes::{key_on, settings};

/// Digits only, with a zero in front: as a number it would be another text.
const HASH_KEY: &str = "01234567890123456789012345678901";

/// Replaces each setting by a file that holds it and a newline, as Kubernetes and Docker mount secrets.
fn mounted(dir: &Path, settings: &[(&str, &str)], secrets: &[&str]) -> Vec<(String, String)> {
    let given = settings.iter().map(|(key, value)| {
        if !secrets.contains(key) {
            return ((*key).to_owned(), (*value).to_owned());
        }
        let file = dir.join(key);
        fs::write(&file, format!("{value}\n")).unwrap();
        (format!("{key}_file"), file.display().to_string())
    });
    given.collect()
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn every_secret_may_come_from_a_mounted_file() {
    for stack in Stack::every().await {
        let (journal, secrets) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut plain = settings(&stack, &journal);
        plain.push(("limiter.hash_key", HASH_KEY));
        let keys = ["database.url", "limiter.url", "limiter.hash_key", "queue.url"];
        let given = mounted(secrets.path(), &plain, &keys);
        let token = secrets.path().join("token");
        fs::write(&token, format!("{BOOTSTRAP_TOKEN}\n")).unwrap();
        let mut api =
            Process::api(&borrowed(&given)).without_bootstrap_token().with_env("TOLLGATE_BOOTSTRAP_TOKEN_FILE", &token);
        api.start_ready().await;
        let key = key_on(&api.admin(), "free").await;
        let check =
            api.client().with_credential(&key.secret).request(Method::POST, "/api/public/v1/rate-limit/validate");
        assert!(!send(check).await.expect(200).header("ratelimit").is_empty());
        assert!(api.stop().success());
        assert!(!api.text().contains("Admin token"), "a chosen token is not shown: {}", api.text());
    }
}

#[tokio::test]
async fn nodes_share_counters_whichever_way_they_were_given_the_same_hash_key() {
    let stack = Stack::production().await;
    let journals = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tollgate.toml");
    fs::write(&file, format!("[limiter]\nhash_key = \"{HASH_KEY}\"\n")).unwrap();
    let mut by_variable = settings(&stack, &journals[0]);
    by_variable.push(("limiter.hash_key", HASH_KEY));
    let mut first = Process::api(&by_variable);
    let mut second = Process::api(&settings(&stack, &journals[1])).with_env("TOLLGATE_CONFIG", &file);
    first.start_ready().await;
    second.start_ready().await;
    let key = {
        let own = serde_json::json!([{"name": "per-hour", "algorithm": "fixed_window", "limit": 4, "window": 3_600}]);
        let body = serde_json::json!({"name": "x", "tier": "free", "limits": own});
        first.admin().post("/api/v1/api-keys", &body).await.expect(201).data()["key"].as_str().unwrap().to_owned()
    };
    let mut admitted = 0;
    for _ in 0..4 {
        for node in [&first, &second] {
            let check = node.client().with_credential(&key).request(Method::POST, "/api/public/v1/rate-limit/validate");
            admitted += u32::from(send(check).await.allowed());
        }
    }
    assert_eq!(admitted, 4);
    assert!(first.stop().success() && second.stop().success());
}

#[tokio::test]
async fn a_name_is_resolved_and_a_folder_of_digits_keeps_its_name() {
    let (stack, journal) = (Stack::embedded(), TempDir::new().unwrap());
    let named = journal.path().join("0042");
    let port = free_port();
    let (dir, listen) = (named.display().to_string(), format!("localhost:{port}"));
    let admin_port = free_port();
    let admin_listen = format!("localhost:{admin_port}");
    let mut settings = stack.settings();
    settings.extend([("journal.dir", dir.as_str()), ("api.admin_listen", &admin_listen), ("api.drain_seconds", "0")]);
    let mut api = Process::api(&settings).listening_on(&listen, port);
    api.start_ready().await;
    assert!(api.text().contains(&format!("Tollgate serves http://127.0.0.1:{port}")), "{}", api.text());
    let metrics = reqwest::get(format!("http://127.0.0.1:{admin_port}/metrics")).await.unwrap();
    assert_eq!(metrics.status(), 200);
    assert!(named.read_dir().unwrap().next().is_some(), "the journal is there");
    assert!(api.stop().success());
}

#[tokio::test]
async fn browsers_of_every_listed_origin_may_call() {
    for stack in Stack::every().await {
        let origins = " https://a.example , http://localhost:3000 ,";
        let app = App::start(Arc::new(stack), &[("api.cors_origins", origins)]).await;
        for (origin, allowed) in [
            ("https://a.example", "https://a.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://b.example", ""),
        ] {
            let preflight = app.anyone().request(Method::OPTIONS, "/api/v1/plans").header("origin", origin);
            let answer = send(preflight.header("access-control-request-method", "GET")).await;
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        }
        app.stop().await;
    }
}

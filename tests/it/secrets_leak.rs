//! A secret is shown to its owner and stands nowhere else: not in a log at any level, not in a metric, not in a store.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{
    BOOTSTRAP_TOKEN,
    answer::send,
    app::{Key, Stack},
    process::Process,
};

use crate::processes::{billed_becomes, key_on, settings};

/// Uses keys and tokens in every way that could leave them behind. Returns every secret that was seen.
async fn use_secrets(api: &Process) -> Vec<String> {
    let admin = api.admin();
    let key = key_on(&admin, "free").await;
    let validate = "/api/public/v1/rate-limit/validate";
    let holder = api.client().with_credential(&key.secret);
    holder.post(validate, &json!({"endpoint": "/v1/orders", "user_agent": "x"})).await.expect(200);
    holder.post(validate, &json!({"requests": 1_000})).await.expect(429);
    holder.post(validate, &json!({"requests": "wrong"})).await.expect(422);
    holder.get("/api/v1/plans").await.expect(403);
    holder.get("/api/v1/rate-limit/info").await.expect(200);
    let by_body = json!({"api_key": key.secret});
    api.client().post(validate, &by_body).await.expect(200);
    let in_a_header = api.client().request(reqwest::Method::GET, "/api/v1/rate-limit/info");
    send(in_a_header.header("x-api-key", &key.secret)).await.expect(200);
    admin.post("/api/v1/api-keys/lookup", &json!({"key": key.secret})).await.expect(200);
    admin.post("/api/v1/rate-limit/reset", &by_body).await.expect(200);
    admin.post("/api/v1/api-keys/lookup", &json!({"key": key.secret, "surprise": key.secret})).await.expect(422);
    let not_json = admin.request(reqwest::Method::POST, "/api/v1/api-keys/lookup").body(key.secret.clone());
    send(not_json).await.expect(400);
    let body = json!({"name": "a token", "scopes": ["admin"]});
    let made = admin.post("/api/v1/tokens", &body).await.expect(201);
    let token = made.data()["token"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/tokens/{}", made.data()["id"].as_str().unwrap());
    let new_secret = json!({"grace_seconds": 60});
    let client = api.client().with_credential(&token);
    let idempotent = client.request(reqwest::Method::POST, &format!("{path}/rotate")).header("idempotency-key", "k");
    let rotated = send(idempotent.json(&new_secret)).await.expect(200);
    let second_token = rotated.data()["token"].as_str().unwrap().to_owned();
    client.get("/api/v1/whoami").await.expect(200);
    client.get(&format!("/api/v1/tokens/{token}")).await.expect(404);
    admin.post("/api/v1/tokens", &json!({"name": "x", "scopes": [second_token]})).await.expect(422);
    let rotate = format!("/api/v1/api-keys/{}/rotate", key.id);
    let rotated = admin.post(&rotate, &json!({"grace_seconds": 60})).await.expect(200);
    let second = rotated.data()["key"].as_str().unwrap().to_owned();
    let counted = Key { secret: second.clone(), ..key.clone() };
    api.client().with_credential(&counted.secret).post(validate, &json!({})).await.expect(200);
    billed_becomes(&admin, &counted, 3).await;
    vec![key.secret, second, token, second_token]
}

/// Fails when `bytes` hold a secret, or the random part of one.
fn assert_clean(place: &str, bytes: &[u8], secrets: &[String]) {
    assert!(!bytes.is_empty(), "{place} is empty: nothing was looked at");
    for secret in secrets {
        // The kind of secret and four characters are the displayable prefix; what follows must never be seen.
        let hidden = secret.as_bytes().get(14..34).expect("a secret is longer");
        assert!(!bytes.windows(hidden.len()).any(|part| part == hidden), "{place} holds a secret");
    }
}

fn read_all(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let read = |entry: fs::DirEntry| match entry.path().is_dir() {
        true => read_all(&entry.path()),
        false => fs::read(entry.path()).unwrap_or_default(),
    };
    entries.flat_map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_in_no_log_metric_journal_or_store() {
    for stack in Stack::every().await {
        eprintln!("on {}", stack.name);
        let journal = TempDir::new().unwrap();
        let mut settings = settings(&stack, &journal);
        settings.extend([("log.level", "trace"), ("log.sample_checks", "1")]);
        let mut api = Process::api(&settings);
        api.start_ready().await;
        let mut secrets = use_secrets(&api).await;
        secrets.push(BOOTSTRAP_TOKEN.to_owned());
        assert_clean("metrics", api.client().get("/metrics").await.expect(200).text.as_bytes(), &secrets);
        assert_clean("the journal", &read_all(journal.path()), &secrets);
        assert_clean("the database", &stack.database_dump(), &secrets);
        if let Some(redis) = &stack.redis {
            assert_clean("Redis", &redis.dump(), &secrets);
        }
        assert!(api.stop().success());
        let text = api.text();
        assert!(text.contains("TRACE") && text.contains("/api/v1/api-keys/lookup"), "too little was logged: {text}");
        assert_clean("the log", text.as_bytes(), &secrets);
    }
}

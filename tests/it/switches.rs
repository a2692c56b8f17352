//! What a node's settings switch, as clients see it: waiting for the disk, browsers, the operators' listener, header styles.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{
    answer::{Answer, Client, send},
    app::{App, Stack, on_every_stack_with},
    process::Process,
    wait::free_port,
};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";
/// The standard fields, and the older ones.
const STANDARD: [&str; 2] = ["ratelimit", "ratelimit-policy"];
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

fn has(answer: &Answer, fields: &[&str]) -> Vec<bool> {
    fields.iter().map(|field| !answer.header(field).is_empty()).collect()
}

#[tokio::test]
async fn a_node_that_waits_for_the_disk_bills_what_it_answers_and_refuses_what_it_should() {
    on_every_stack_with(&[("journal.sync", "group")], async |app| {
        let key = app.key("enterprise").await;
        for _ in 0..5 {
            let answers = join_all((0..20).map(|_| app.validate(&key))).await;
            assert!(answers.iter().all(|answer| answer.status == 200));
        }
        app.used_becomes(&key, 100).await;
        let limited = app.key_limited("fixed_window", 3, 3_600).await;
        assert_eq!(app.admitted(&limited, 10).await, 3);
        app.used_becomes(&limited, 3).await;
    })
    .await;
}

#[tokio::test]
async fn browsers_may_check_too_and_read_where_the_key_stands() {
    on_every_stack_with(&[("api.cors_origins", "https://a.example")], async |app| {
        let key = app.key_limited("fixed_window", 1, 3_600).await;
        let holder = app.holder(&key);
        let call = |method: Method, origin: &'static str| holder.request(method, VALIDATE).header("origin", origin);
        let preflight = call(Method::OPTIONS, "https://a.example").header("access-control-request-method", "POST");
        let allowed = send(preflight.header("access-control-request-headers", "x-api-key, content-type")).await;
        assert_eq!(allowed.header("access-control-allow-origin"), "https://a.example");
        assert!(allowed.header("access-control-allow-headers").contains("x-api-key"), "{:?}", allowed.headers);
        for status in [200, 429] {
            let answer = send(call(Method::POST, "https://a.example").json(&json!({}))).await.expect(status);
            assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
            assert!(answer.header("access-control-expose-headers").contains("ratelimit"), "{:?}", answer.headers);
            assert_eq!(has(&answer, &STANDARD), [true; 2]);
            assert!(!answer.header("x-request-id").is_empty());
        }
        let other = send(call(Method::POST, "https://b.example").json(&json!({}))).await.expect(429);
        assert_eq!(other.header("access-control-allow-origin"), "");
    })
    .await;
}

#[tokio::test]
async fn with_a_listener_for_operators_metrics_are_there_and_nowhere_else() {
    let (stack, journal) = (Stack::embedded(), TempDir::new().unwrap());
    let admin_listen = format!("127.0.0.1:{}", free_port());
    let mut settings = stack.settings();
    let dir = journal.path().display().to_string();
    settings.extend([("journal.dir", dir.as_str()), ("api.admin_listen", &admin_listen), ("api.drain_seconds", "0")]);
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let operators = Client::new(format!("http://{admin_listen}"));
    api.client().get("/metrics").await.expect_problem(404, "NOT_FOUND");
    assert!(operators.get("/metrics").await.expect(200).text.contains("tollgate_checks_total"));
    for path in ["/live", "/ready", "/health"] {
        operators.get(path).await.expect(200);
        api.client().get(path).await.expect(200);
    }
    let credential = api.admin();
    credential.get("/api/v1/plans").await.expect(200);
    for path in ["/api/v1/plans", "/openapi.json", VALIDATE] {
        operators.get(path).await.expect_problem(404, "NOT_FOUND");
    }
    assert!(api.stop().success());
}

#[tokio::test]
async fn the_headers_of_a_token_bucket_are_in_the_style_that_the_node_has() {
    for (style, standard, legacy) in
        [("both", true, true), ("standard", true, false), ("legacy", false, true), ("off", false, false)]
    {
        let app = App::start(Arc::new(Stack::embedded()), &[("api.headers", style)]).await;
        let bucket = json!({"name": "per-hour", "algorithm": "token_bucket", "limit": 60, "window": 60, "burst": 5});
        let key = app.key_with(json!({"limits": [bucket]})).await;
        let answer = app.validate(&key).await.expect(200);
        assert_eq!(has(&answer, &STANDARD), [standard; 2], "{style}");
        assert_eq!(has(&answer, &LEGACY), [legacy; 3], "{style}");
        if standard {
            // A bucket's quota is its burst, and its window the time in which that flows in.
            assert_eq!(answer.header("ratelimit-policy"), r#""per-hour";q=5;w=5"#);
            assert!(answer.header("ratelimit").starts_with(r#""per-hour";r=4;t="#), "{}", answer.header("ratelimit"));
        }
        if legacy {
            assert_eq!([LEGACY[0], LEGACY[1]].map(|field| answer.header(field)), ["5", "4"]);
        }
        let refused = app.validate_with(&key, json!({"requests": 5})).await.expect(429);
        assert_eq!(refused.retry_after(), 1, "whatever the style");
        app.stop().await;
    }
}

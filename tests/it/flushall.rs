//! FLUSHALL on the Redis of queue and limiter while traffic runs: windows start anew, money does not.

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{answer::send, app::Stack, traffic::Traffic, wait::within_promise};

use crate::processes::{api_and_worker, billed_becomes, boundless_key, key_on};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_usage_is_lost_or_doubled_and_the_worker_goes_on() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let (api, _worker) = api_and_worker(&stack, &journal).await;
    let key = boundless_key(&api.admin()).await;
    let traffic = Traffic::start(&api.client().with_credential(&key.secret), 8);
    for _ in 0..5 {
        traffic.allowed_more(300).await;
        assert_eq!(stack.redis.as_ref().unwrap().command("FLUSHALL"), "+OK");
    }
    traffic.allowed_more(300).await;
    let told = traffic.stop().await;
    assert_eq!((told.failed(), told.unavailable(), told.refused(), told.cut()), (0, 0, 0, 0));
    billed_becomes(&api.admin(), &key, told.allowed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_up_quota_stays_used_up() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let (api, _worker) = api_and_worker(&stack, &journal).await;
    let admin = api.admin();
    let plan = json!({
        "name": "capped",
        "limits": [{"name": "per-hour", "limit": 1_000_000, "window": 3_600}],
        "quota": {"limit": 50, "overage": "block"},
        "prices": {"currency": "USD", "base": "0", "overage_unit": "0"},
    });
    admin.post("/api/v1/plans", &plan).await.expect(201);
    let key = key_on(&admin, "capped").await;
    let check = api.client().with_credential(&key.secret);
    let validate = async |requests: u64| {
        let request = check.request(reqwest::Method::POST, "/api/public/v1/rate-limit/validate");
        send(request.json(&json!({"requests": requests}))).await
    };
    validate(50).await.expect(200);
    validate(1).await.expect_problem(429, "QUOTA_EXCEEDED");
    billed_becomes(&admin, &key, 50).await;
    assert_eq!(stack.redis.as_ref().unwrap().command("FLUSHALL"), "+OK");
    // Seeded from the database, at once or by the next periodic push, within 10 s; a look consumes nothing meanwhile.
    within_promise("the quota is known again", std::time::Duration::from_secs(10), async || {
        (validate(0).await.body["quota"]["used"] == 50).then_some(())
    })
    .await;
    validate(1).await.expect_problem(429, "QUOTA_EXCEEDED");
}

//! A store that stops: who is known goes on, what cannot be known says so at once, and all recovers by itself.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tollgate_domain::TokenSecret;
use tollgate_tests::{
    answer::{Client, send},
    app::{Key, Stack},
    database::migrated_on,
    postgres::Postgres,
    process::Process,
    proxy::{Network, Proxy},
    redis::Redis,
    traffic::Traffic,
    wait::{HANGS_AFTER, eventually, within_promise},
};

use crate::processes::{billed_becomes, boundless_key, key_on, settings};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";
/// The bar for a check without Redis.
const CHECK_WITHIN: Duration = Duration::from_millis(100);
/// The fault matrix: no request on a network that swallows everything takes longer.
const SWALLOWED_WITHIN: Duration = Duration::from_millis(250);
/// The fault matrix: management without a database answers within a second.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// The fault matrix: all is as before within seconds.
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);

fn check(client: &Client, key: &Key) -> reqwest::RequestBuilder {
    client.with_credential(&key.secret).request(reqwest::Method::POST, VALIDATE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_checks_are_answered_by_on_failure_in_time_and_marked() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let mut redis = Redis::start();
    let (limiter, queue) = (redis.url_of(0), redis.url_of(1));
    let mut settings = settings(&stack, &journal);
    settings.extend([("limiter.url", limiter.as_str()), ("queue.url", &queue), ("limiter.call_budget_ms", "50")]);
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let (admin, client) = (api.admin(), api.client());
    let key = boundless_key(&admin).await;
    let tell = async |on_failure: &str| {
        let limit = json!({"name": "per-hour", "limit": 1_000_000, "window": 3_600, "on_failure": on_failure});
        let body = json!({"name": on_failure, "tier": "boundless", "limits": [limit]});
        let made = admin.post("/api/v1/api-keys", &body).await.expect(201).data().clone();
        let text = |member: &str| made[member].as_str().unwrap().to_owned();
        Key { id: text("id"), secret: text("key"), record: made.clone() }
    };
    let (allowing, denying) = (tell("allow").await, tell("deny").await);
    for key in [&key, &allowing, &denying] {
        let sound = send(check(&client, key)).await.expect(200);
        assert!(sound.body.get("degraded").is_none() && sound.header("tollgate-degraded").is_empty(), "{}", sound.text);
    }
    let traffic = Traffic::start(&client.with_credential(&key.secret), 4);
    traffic.allowed_more(200).await;
    redis.stop();
    traffic.allowed_more(2_000).await;
    let denied = send(check(&client, &denying)).await.expect_problem(503, "UNAVAILABLE");
    assert_ne!(denied.header("retry-after"), "");
    let allowed = send(check(&client, &allowing)).await.expect(200);
    assert_eq!((&allowed.body["degraded"], allowed.header("tollgate-degraded")), (&json!(true), "1"));
    assert_eq!(client.get("/health").await.expect(200).body["status"], "degraded");
    redis.restart();
    within_promise("answers are exact again", RECOVERED_WITHIN, async || {
        send(check(&client, &allowing)).await.expect(200).body.get("degraded").is_none().then_some(())
    })
    .await;
    send(check(&client, &denying)).await.expect(200);
    let told = traffic.stop().await;
    eprintln!("{} degraded of {}, the slowest took {:?}", told.degraded(), told.allowed(), told.slowest());
    assert_eq!((told.failed(), told.unavailable(), told.refused(), told.cut()), (0, 0, 0, 0));
    assert!(told.degraded() >= 1_000, "{}", told.degraded());
    assert!(told.slowest() < CHECK_WITHIN, "{:?}", told.slowest());
    billed_becomes(&admin, &key, told.allowed() + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_holds_no_check_up() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let proxy = Proxy::before(stack.redis.as_ref().unwrap().port()).await;
    let limiter = format!("redis://127.0.0.1:{}/0", proxy.port());
    let mut settings = settings(&stack, &journal);
    settings.extend([("limiter.url", limiter.as_str()), ("limiter.call_budget_ms", "50")]);
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let key = boundless_key(&api.admin()).await;
    let traffic = Traffic::start(&api.client().with_credential(&key.secret), 4);
    for network in [Network::BlackHole, Network::Latency(Duration::from_millis(200)), Network::Refuse, Network::Cut(0)]
    {
        let before = traffic.told.degraded();
        proxy.set(network).await;
        eventually("answers say that they are degraded", HANGS_AFTER, async || {
            (traffic.told.degraded() > before + 200).then_some(())
        })
        .await;
        proxy.set(Network::Pass).await;
        within_promise("answers are exact again", RECOVERED_WITHIN, async || {
            send(check(&api.client(), &key)).await.expect(200).body.get("degraded").is_none().then_some(())
        })
        .await;
    }
    let told = traffic.stop().await;
    eprintln!("{} degraded of {}, the slowest took {:?}", told.degraded(), told.allowed(), told.slowest());
    assert_eq!((told.failed(), told.unavailable(), told.refused(), told.cut()), (0, 0, 0, 0));
    assert!(told.slowest() < SWALLOWED_WITHIN, "{:?}", told.slowest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_known_keys_validate_and_management_says_503_at_once() {
    let (mut postgres, redis, journal) = (Postgres::start(), Redis::start(), TempDir::new().unwrap());
    let database = migrated_on(&postgres).await;
    let (database_url, limiter, queue) = (database.url(), redis.url_of(0), redis.url_of(1));
    let mut api = Process::api(&[
        ("database.url", &database_url),
        ("limiter.url", &limiter),
        ("queue.url", &queue),
        ("limiter.call_budget_ms", "1000"),
        ("journal.dir", journal.path().to_str().unwrap()),
        // Held keys are read anew during the outage, in vain.
        ("cache.refresh_seconds", "1"),
    ]);
    api.start_ready().await;
    let (admin, client) = (api.admin(), api.client());
    let (key, never_seen) = (boundless_key(&admin).await, key_on(&admin, "free").await);
    let traffic = Traffic::start(&client.with_credential(&key.secret), 4);
    traffic.allowed_more(200).await;
    let by_id = json!({"api_key_id": key.id, "endpoint": "/", "method": "GET", "requests": 0});
    admin.post("/api/v1/rate-limit/check", &by_id).await.expect(200);
    postgres.stop();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        traffic.allowed_more(100).await;
        let asked = Instant::now();
        let refused = admin.get("/api/v1/plans").await.expect_problem(503, "UNAVAILABLE");
        assert!(asked.elapsed() < REFUSED_WITHIN, "{:?}", asked.elapsed());
        assert_ne!(refused.header("retry-after"), "");
        // A token that was used before is known as keys are.
        admin.post("/api/v1/rate-limit/check", &by_id).await.expect(200);
        let made_up = TokenSecret::generate().unwrap();
        let stranger = client.with_credential(made_up.expose());
        stranger.post("/api/v1/rate-limit/check", &by_id).await.expect_problem(503, "UNAVAILABLE");
        let asked = Instant::now();
        send(check(&client, &never_seen)).await.expect_problem(503, "UNAVAILABLE");
        assert!(asked.elapsed() < REFUSED_WITHIN, "{:?}", asked.elapsed());
    }
    client.get("/health").await.expect(503);
    client.get("/live").await.expect(200);
    postgres.restart();
    within_promise("management answers again", RECOVERED_WITHIN, async || {
        (admin.get("/api/v1/plans").await.status == 200).then_some(())
    })
    .await;
    send(check(&client, &never_seen)).await.expect(200);
    let told = traffic.stop().await;
    assert_eq!((told.failed(), told.unavailable(), told.refused(), told.cut()), (0, 0, 0, 0));
    billed_becomes(&admin, &key, told.allowed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_key_is_served_until_the_database_has_been_away_for_stale_seconds() {
    let (mut postgres, journal) = (Postgres::start(), TempDir::new().unwrap());
    let database = migrated_on(&postgres).await;
    let database_url = database.url();
    let mut api = Process::api(&[
        ("database.url", &database_url),
        ("limiter.url", "memory:"),
        ("queue.url", "memory:"),
        ("limiter.snapshot", ""),
        ("journal.dir", journal.path().to_str().unwrap()),
        ("cache.stale_seconds", "3"),
    ]);
    api.start_ready().await;
    let (admin, client) = (api.admin(), api.client());
    let key = boundless_key(&admin).await;
    send(check(&client, &key)).await.expect(200);
    let asked = Instant::now();
    postgres.stop();
    let mut served_for = Duration::ZERO;
    eventually("the key is no longer vouched for", RECOVERED_WITHIN, async || {
        let answer = send(check(&client, &key)).await;
        if answer.status == 200 {
            served_for = asked.elapsed();
            return None;
        }
        answer.expect_problem(503, "UNAVAILABLE");
        Some(())
    })
    .await;
    // The last poll before the stop vouched for it: half a second earlier at most.
    assert!(served_for > Duration::from_secs(2), "{served_for:?}");
    postgres.restart();
    within_promise("the key is known again", RECOVERED_WITHIN, async || {
        (send(check(&client, &key)).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_starts_before_its_stores_becomes_ready_with_them() {
    let (mut postgres, mut redis, journal) = (Postgres::start(), Redis::start(), TempDir::new().unwrap());
    let database = migrated_on(&postgres).await;
    let (database_url, limiter, queue) = (database.url(), redis.url_of(0), redis.url_of(1));
    postgres.stop();
    redis.stop();
    let mut api = Process::api(&[
        ("database.url", &database_url),
        ("limiter.url", &limiter),
        ("queue.url", &queue),
        ("journal.dir", journal.path().to_str().unwrap()),
    ]);
    api.start();
    let client = api.client();
    eventually("the process lives", HANGS_AFTER, async || {
        let live = tollgate_tests::answer::try_send(client.request(reqwest::Method::GET, "/live")).await;
        live.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    client.get("/ready").await.expect(503);
    postgres.restart();
    redis.restart();
    let started = Instant::now();
    api.ready().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let key = key_on(&api.admin(), "free").await;
    send(check(&client, &key)).await.expect(200);
    billed_becomes(&api.admin(), &key, 1).await;
}

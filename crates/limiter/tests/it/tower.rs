//! The layer: who is limited, what a refused client is told, and what the service behind never sees.
use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use axum::http::{HeaderName, Request, Response, StatusCode};
use tollgate_limiter::tower::{Extract, Fields, Header, RateLimitLayer};
use tollgate_limiter::{HashKey, Limit, Limiter, OnFailure, Options, Timestamp};
use tollgate_test_servers::redis::Redis;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::harness::{NEW_YEAR, bucket, fixed, log, seconds, sliding};

static NOW: AtomicI64 = AtomicI64::new(NEW_YEAR);
static SERVED: AtomicU32 = AtomicU32::new(0);

fn clock() -> Timestamp {
    Timestamp::from_micros(NOW.load(Ordering::Relaxed))
}

type Served = Response<String>;

fn layer(limits: &[Limit]) -> RateLimitLayer<impl Extract + Clone + Send + Sync + 'static + use<>> {
    let limiter = Limiter::memory(&Options::default());
    let who = Header::new(HeaderName::from_static("x-api-key"));
    RateLimitLayer::new(limiter, HashKey::new([3; 16]), who, limits).with_clock(clock)
}

async fn ask<E: Extract + Send + Sync + 'static>(layer: &RateLimitLayer<E>, key: Option<&str>) -> Served {
    let mut request = Request::builder().uri("/");
    if let Some(key) = key {
        request = request.header("X-Api-Key", key);
    }
    let hello = service_fn(async |_: Request<()>| {
        SERVED.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Response::new("hello".to_owned()))
    });
    layer.layer(hello).ready().await.unwrap().call(request.body(()).unwrap()).await.unwrap()
}

fn field<'r>(response: &'r Served, name: &str) -> &'r str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name} in {response:?}")).to_str().unwrap()
}

#[tokio::test]
async fn a_request_within_its_limits_is_served_and_told_where_it_stands() {
    let layer = layer(&[sliding("per-hour", 1_000, seconds(3_600)), fixed("a \"day\"\n", 5_000, seconds(86_400))]);
    let served = ask(&layer, Some("k")).await;
    assert_eq!((served.status(), served.body().as_str()), (StatusCode::OK, "hello"));
    assert_eq!(field(&served, "RateLimit-Policy"), r#""per-hour";q=1000;w=3600, "a \"day\"?";q=5000;w=86400"#);
    assert_eq!(field(&served, "RateLimit"), r#""per-hour";r=999;t=3600, "a \"day\"?";r=4999;t=86400"#);
    assert_eq!(field(&served, "X-RateLimit-Limit"), "1000");
    assert_eq!(field(&served, "X-RateLimit-Remaining"), "999");
    assert_eq!(field(&served, "X-RateLimit-Reset"), (NEW_YEAR / 1_000_000 + 3_600).to_string());
    assert!(served.headers().get("Retry-After").is_none());
}

#[tokio::test]
async fn a_refused_request_never_reaches_the_service_and_is_told_when_to_come_back() {
    let layer = layer(&[fixed("per-hour", 1_000, seconds(3_600)), sliding("per \"minute\"", 2, seconds(60))]);
    for _ in 0..2 {
        assert_eq!(ask(&layer, Some("k")).await.status(), StatusCode::OK);
    }
    let served = SERVED.load(Ordering::Relaxed);
    let refused = ask(&layer, Some("k")).await;
    assert_eq!((refused.status(), SERVED.load(Ordering::Relaxed)), (StatusCode::TOO_MANY_REQUESTS, served));
    assert_eq!(field(&refused, "Content-Type"), "application/problem+json");
    assert_eq!(field(&refused, "Retry-After"), "90");
    assert_eq!(field(&refused, "RateLimit"), r#""per-hour";r=998;t=3600, "per \"minute\"";r=0;t=90"#);
    assert_eq!(field(&refused, "X-RateLimit-Reset"), (NEW_YEAR / 1_000_000 + 90).to_string());
    let problem: serde_json::Value = serde_json::from_str(refused.body()).unwrap();
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["retry_after"], 90);
    assert_eq!(problem["violated-policies"], serde_json::json!(["per \"minute\""]));
    assert_eq!(ask(&layer, Some("other")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_names_no_key_shares_one_budget() {
    let layer = layer(&[fixed("per-hour", 2, seconds(3_600))]);
    let mut served = 0;
    for _ in 0..5 {
        served += u32::from(ask(&layer, None).await.status() == StatusCode::OK);
    }
    assert_eq!(served, 2);
}

#[tokio::test]
async fn fields_and_costs_can_be_chosen() {
    let limits = [fixed("per-hour", 10, seconds(3_600))];
    let legacy = layer(&limits).with_fields(Fields::Legacy).with_cost(|_| 4);
    let served = ask(&legacy, Some("k")).await;
    assert_eq!(field(&served, "X-RateLimit-Remaining"), "6");
    assert!(served.headers().get("RateLimit").is_none());
    let off = layer(&limits).with_fields(Fields::Off).with_cost(|_| 11);
    let never = ask(&off, Some("k")).await;
    assert_eq!(never.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(never.headers().get("RateLimit").is_none() && never.headers().get("Retry-After").is_none());
    let problem: serde_json::Value = serde_json::from_str(never.body()).unwrap();
    assert_eq!(problem.get("retry_after"), Some(&serde_json::Value::Null));
    assert_eq!(problem["detail"], "The request costs more than the limit itself allows and never fits.");
}

#[tokio::test]
async fn a_buckets_policy_names_what_it_holds_and_never_less_than_is_left() {
    let limits =
        [bucket("steady", 100, seconds(3_600), 5), bucket("wide", 1, seconds(1), 50), log("log", 9, seconds(60))];
    let layer = layer(&limits).with_cost(|_| 5);
    let served = ask(&layer, Some("k")).await;
    assert_eq!(field(&served, "RateLimit-Policy"), r#""steady";q=5;w=180, "wide";q=50;w=50, "log";q=9;w=60"#);
    assert_eq!(field(&served, "RateLimit"), r#""steady";r=0;t=36, "wide";r=45;t=5, "log";r=4;t=60"#);
    let refused = ask(&layer, Some("k")).await;
    assert_eq!(field(&refused, "RateLimit"), r#""steady";r=0;t=36, "wide";r=45;t=5, "log";r=4;t=60"#);
    assert_eq!(field(&refused, "Retry-After"), "180");
}

#[tokio::test]
async fn a_store_that_is_away_answers_503_where_the_limit_says_deny() {
    let mut server = Redis::start();
    let limiter = Limiter::connect(&server.url(), Options::default()).await.unwrap();
    server.stop();
    let limits = [fixed("per-hour", 10, seconds(3_600)).with_on_failure(OnFailure::Deny)];
    let who = Header::new(HeaderName::from_static("x-api-key"));
    let layer = RateLimitLayer::new(limiter, HashKey::new([3; 16]), who, limits);
    let away = ask(&layer, Some("k")).await;
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&away, "Retry-After"), "1");
}

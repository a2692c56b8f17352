//! When to come back: one moment, on every door and in every member and header that speaks of it.

use serde_json::{Value, json};
use tollgate_tests::{
    answer::Answer,
    app::{App, Key, on_every_stack},
};

const LIMITS: &str = "/api/v1/rate-limit";

/// Of each algorithm a limit of ten units at once, and the seconds it counts in.
fn every_kind() -> Vec<Value> {
    let limit = |algorithm: &str, members: Value| {
        let mut limit = json!({"name": "per-hour", "algorithm": algorithm, "limit": 10, "window": 3_600});
        for (name, value) in members.as_object().expect("members") {
            limit[name] = value.clone();
        }
        limit
    };
    vec![
        limit("sliding_window", json!({})),
        limit("sliding_window", json!({"cost": 3})),
        limit("sliding_log", json!({})),
        limit("sliding_log", json!({"cost": 3})),
        limit("fixed_window", json!({})),
        limit("token_bucket", json!({"limit": 100, "burst": 10})),
        limit("token_bucket", json!({"limit": 40, "burst": 10, "cost": 3})),
    ]
}

/// `t` of the header's only limit.
fn t(answer: &Answer) -> i64 {
    answer.header("ratelimit").rsplit("t=").next().and_then(|t| t.parse().ok()).expect("t")
}

fn reset_unix(answer: &Answer) -> i64 {
    answer.header("x-ratelimit-reset").parse().expect("Unix seconds")
}

fn unix(time: &Value) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time.as_str().expect("a time")).expect("RFC 3339").timestamp()
}

/// What an answer about a limit with nothing left says of the moment at which one unit fits, in seconds from now.
fn moments(app: &App, answer: &Answer) -> [i64; 4] {
    let now = app.clock.now().timestamp();
    let in_body = [&answer.body["reset_in_seconds"], &answer.body["limits"][0]["reset_in_seconds"]];
    let [top, of_limit] = in_body.map(|seconds| seconds.as_i64().expect("seconds"));
    assert_eq!(top, of_limit, "{}", answer.text);
    [top, unix(&answer.body["reset_time"]) - now, t(answer), reset_unix(answer) - now]
}

#[tokio::test]
async fn while_nothing_is_left_everything_says_when_one_unit_fits() {
    on_every_stack(async |app| {
        for limit in every_kind() {
            let key = app.key_with(json!({"limits": [limit]})).await;
            let units = 10 / limit["cost"].as_i64().unwrap_or(1);
            let last = app.validate_with(&key, json!({"requests": units})).await.expect(200);
            let refused = app.validate(&key).await.expect(429);
            let many = app.validate_with(&key, json!({"requests": 2})).await.expect(429);
            let seconds = refused.retry_after();
            for answer in [&last, &refused, &many] {
                assert_eq!(moments(app, answer), [seconds; 4], "{limit}: {}", answer.text);
                assert!(!answer.header("ratelimit").is_empty());
            }
            assert_eq!(refused.header("retry-after"), seconds.to_string());
            assert!(many.retry_after() >= seconds, "Retry-After is never earlier than t: {}", many.text);
            managed_says(app, &key, seconds).await;

            app.advance(seconds - 1);
            assert_eq!(app.validate(&key).await.expect(429).retry_after(), 1, "{limit}");
            app.advance(1);
            app.validate(&key).await.expect(200);
        }
    })
    .await;
}

/// The same from the routes that only look.
async fn managed_says(app: &App, key: &Key, seconds: i64) {
    let now = app.clock.now().timestamp();
    let own = app.holder(key).get(&format!("{LIMITS}/info")).await.expect(200);
    let by_id = app.admin.get(&format!("{LIMITS}/{}/info", key.id)).await.expect(200);
    for info in [own.data(), by_id.data()] {
        assert_eq!((&info["retry_after"], &info["window"]), (&json!(seconds), &json!(3_600)), "{info}");
        assert_eq!(unix(&info["reset_time"]) - now, seconds, "{info}");
        assert_eq!(unix(&info["window_end"]) - unix(&info["window_start"]), 3_600, "{info}");
        assert!((unix(&info["window_start"])..unix(&info["window_end"])).contains(&now), "{info}");
    }
    assert_eq!((t(&own), reset_unix(&own) - now), (seconds, seconds), "headers for the caller's own key");
    assert_eq!(own.header("retry-after"), "", "it was answered");
    let body = json!({"api_key_id": key.id});
    let preview = app.admin.post(&format!("{LIMITS}/preview"), &body).await.expect(200);
    assert_eq!((&preview.data()["allowed"], &preview.data()["retry_after"]), (&json!(false), &json!(seconds)));
    let nothing = json!({"api_key_id": key.id, "requests": 0});
    let preview = app.admin.post(&format!("{LIMITS}/preview"), &nothing).await.expect(200);
    assert_eq!((&preview.data()["allowed"], &preview.data()["retry_after"]), (&json!(true), &json!(0)));
    let check = app.admin.post(&format!("{LIMITS}/check"), &body).await.expect(429);
    assert_eq!(moments(app, &check), [seconds; 4], "{}", check.text);
}

#[tokio::test]
async fn while_something_is_left_it_is_the_end_of_the_window_and_one_unit_fits_now() {
    on_every_stack(async |app| {
        for limit in every_kind() {
            let key = app.key_with(json!({"limits": [limit]})).await;
            let first = app.validate(&key).await.expect(200);
            let window_ends = if limit["algorithm"] == "token_bucket" {
                let (rate, cost) = (limit["limit"].as_i64().unwrap(), limit["cost"].as_i64().unwrap_or(1));
                cost * 3_600 / rate
            } else if limit["algorithm"] == "sliding_log" {
                3_600
            } else {
                3_600 - app.clock.now().timestamp() % 3_600
            };
            assert_eq!(moments(app, &first), [window_ends; 4], "{limit}: {}", first.text);
            let info = app.admin.get(&format!("{LIMITS}/{}/info", key.id)).await.expect(200);
            assert_eq!((&info.data()["retry_after"], &info.data()["window"]), (&json!(0), &json!(3_600)));
        }
        // What is refused although something is left fits before the bucket is full, or as soon as it is.
        let bucket = json!({"name": "per-hour", "algorithm": "token_bucket", "limit": 100, "window": 3_600});
        let key = app.key_with(json!({"limits": [bucket]})).await;
        app.validate_with(&key, json!({"requests": 97})).await.expect(200);
        let refused = app.validate_with(&key, json!({"requests": 5})).await.expect(429);
        assert_eq!(refused.retry_after(), 72, "two tokens of 36 s");
        assert_eq!(moments(app, &refused), [72; 4], "t is never later than Retry-After: {}", refused.text);
    })
    .await;
}

#[tokio::test]
async fn what_is_left_never_exceeds_the_limit_and_a_buckets_is_its_burst() {
    on_every_stack(async |app| {
        for (limit, burst) in [(100, 5), (5, 100)] {
            let bucket =
                json!({"name": "b", "algorithm": "token_bucket", "limit": limit, "window": 60, "burst": burst});
            let key = app.key_with(json!({"tier": "enterprise", "limits": [bucket]})).await;
            let answer = app.validate_with(&key, json!({"requests": 0})).await.expect(200);
            let field = answer.header("ratelimit-policy");
            assert!(field.contains(&format!("\"b\";q={burst};w={}", 60 * burst / limit)), "{field}");
            assert!(answer.header("ratelimit").contains(&format!("\"b\";r={burst};")), "{:?}", answer.headers);
            let of_bucket = answer.body["limits"].as_array().unwrap().iter().find(|limit| limit["name"] == "b");
            assert_eq!(of_bucket.map(|b| (&b["limit"], &b["remaining"])), Some((&json!(burst), &json!(burst))));
            let preview = app.admin.post(&format!("{LIMITS}/preview"), &json!({"api_key_id": key.id})).await;
            let limits = preview.data()["limits"].clone();
            for limit in limits.as_array().unwrap() {
                assert!(limit["remaining"].as_u64() <= limit["limit"].as_u64(), "{limit}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_limit_that_holds_up_longest_stands_for_all_on_every_door() {
    on_every_stack(async |app| {
        let limit =
            |name: &str, window: u64| json!({"name": name, "algorithm": "fixed_window", "limit": 3, "window": window});
        let limits = json!([limit("minute", 60), limit("day", 86_400), limit("hour", 3_600)]);
        app.plan("three", limits, json!({"limit": 3, "overage": "bill"})).await;
        let key = app.key("three").await;
        let until_midnight = 86_400 - app.clock.now().timestamp() % 86_400;
        let last = app.validate_with(&key, json!({"requests": 3})).await.expect(200);
        let look = app.validate_with(&key, json!({"requests": 0})).await.expect(200);
        let refused = app.validate(&key).await.expect(429);
        for answer in [&last, &look, &refused] {
            assert_eq!(answer.body["reset_in_seconds"], until_midnight, "{}", answer.text);
            assert_eq!(reset_unix(answer), app.clock.now().timestamp() + until_midnight);
        }
        assert_eq!(refused.retry_after(), until_midnight);
        let info = app.holder(&key).get(&format!("{LIMITS}/info")).await.expect(200);
        assert_eq!((&info.data()["retry_after"], &info.data()["window"]), (&json!(until_midnight), &json!(86_400)));
        assert_eq!(reset_unix(&info), app.clock.now().timestamp() + until_midnight);
    })
    .await;
}

/// A request that exceeds the limit itself, as every door answers it.
fn never_fits(body: &Value, text: &str) {
    assert_eq!((&body["allowed"], body.get("retry_after")), (&json!(false), Some(&Value::Null)), "{text}");
}

fn says_never(answer: &Answer, name: &str, code: &str) {
    never_fits(&answer.body, &answer.text);
    assert_eq!((answer.header("retry-after"), &answer.body["code"]), ("", &json!(code)), "{}", answer.text);
    let detail = answer.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("never fits") && detail.contains(name), "{detail}");
}

#[tokio::test]
async fn a_request_that_exceeds_the_limit_itself_is_told_that_it_never_fits() {
    on_every_stack(async |app| {
        let month =
            json!({"name": "per-month", "algorithm": "fixed_window", "limit": 10, "calendar": {"unit": "month"}});
        let owners = json!({"name": "owners", "algorithm": "fixed_window", "limit": 10, "window": 60, "per": "owner"});
        for limit in every_kind().into_iter().chain([month, owners]) {
            let key = app.key_with(json!({"tier": "enterprise", "owner_id": "acme", "limits": [limit]})).await;
            let name = limit["name"].as_str().unwrap();
            for used in [0, 1] {
                app.validate_with(&key, json!({"requests": used})).await.expect(200);
                let check = json!({"api_key_id": key.id, "requests": 1_000_000});
                says_never(
                    &app.validate_with(&key, json!({"requests": 1_000_000})).await.expect(429),
                    name,
                    "RATE_LIMIT_EXCEEDED",
                );
                says_never(
                    &app.admin.post(&format!("{LIMITS}/check"), &check).await.expect(429),
                    name,
                    "RATE_LIMIT_EXCEEDED",
                );
                let batch = json!({"checks": [check]});
                let batch = app.admin.post(&format!("{LIMITS}/check-batch"), &batch).await.expect(200);
                never_fits(&batch.data()[0], &batch.text);
                assert!(batch.data()[0]["detail"].as_str().unwrap().contains("never fits"), "{}", batch.text);
                let preview = app.admin.post(&format!("{LIMITS}/preview"), &check).await.expect(200);
                never_fits(preview.data(), &preview.text);
            }
        }
        let wide = json!([{"name": "wide", "limit": 1_000_000, "window": 3_600}]);
        app.plan("small-quota", wide, json!({"limit": 10, "overage": "block"})).await;
        let key = app.key("small-quota").await;
        says_never(&app.validate_with(&key, json!({"requests": 11})).await.expect(429), "quota", "QUOTA_EXCEEDED");
        app.validate_with(&key, json!({"requests": 10})).await.expect(200);
        says_never(&app.validate_with(&key, json!({"requests": 11})).await.expect(429), "quota", "QUOTA_EXCEEDED");
        assert!(app.validate(&key).await.expect(429).retry_after() > 0, "one unit fits next month");
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_no_unit_ever_fits_into_says_so_where_the_key_stands() {
    on_every_stack(async |app| {
        let dear = json!({"name": "per-hour", "algorithm": "fixed_window", "limit": 10, "window": 3_600, "cost": 11});
        let key = app.key_with(json!({"limits": [dear]})).await;
        let info = app.admin.get(&format!("{LIMITS}/{}/info", key.id)).await.expect(200);
        assert_eq!(info.data().get("retry_after"), Some(&Value::Null), "{}", info.text);
        says_never(&app.validate(&key).await.expect(429), "per-hour", "RATE_LIMIT_EXCEEDED");
    })
    .await;
}

//! `POST /api/public/v1/rate-limit/validate`: may this key make this call now?

use futures_util::future::join_all;
use serde_json::json;
use tollgate_tests::{
    answer::{Answer, send},
    app::{App, Key, on_every_stack, on_every_stack_with},
};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";

#[tokio::test]
async fn a_check_says_what_is_left_in_body_and_headers() {
    on_every_stack(async |app| {
        let key = app.key_with(json!({"tier": "standard", "owner_id": "acme"})).await;
        let answer = app
            .validate_with(&key, json!({"endpoint": "/v1/orders", "method": "POST", "requests": 3}))
            .await
            .expect(200);
        let body = &answer.body;
        assert_eq!((&body["allowed"], &body["limit"], &body["remaining"]), (&json!(true), &json!(1000), &json!(997)));
        assert_eq!(body["retry_after"], 0);
        assert_eq!(body["key"]["id"], json!(key.id));
        assert_eq!((&body["key"]["tier"], &body["key"]["owner_id"]), (&json!("standard"), &json!("acme")));
        assert_eq!((&body["limits"][0]["name"], &body["limits"][0]["window"]), (&json!("per-hour"), &json!(3600)));
        assert_eq!((&body["quota"]["limit"], &body["quota"]["used"]), (&json!(100_000), &json!(3)));
        assert_eq!(body["quota"]["period_end"], "2031-06-01T00:00:00Z");
        assert!(body.get("degraded").is_none(), "{}", answer.text);

        let in_seconds = body["reset_in_seconds"].as_i64().unwrap();
        assert!((1..=3_600).contains(&in_seconds), "{}", answer.text);
        assert_eq!(answer.header("ratelimit-policy"), "\"per-hour\";q=1000;w=3600");
        assert_eq!(answer.header("ratelimit"), format!("\"per-hour\";r=997;t={in_seconds}"));
        assert_eq!((answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")), ("1000", "997"));
        let reset = app.clock.now().timestamp() + in_seconds;
        assert_eq!(answer.header("x-ratelimit-reset"), reset.to_string());
        assert_eq!(answer.header("retry-after"), "");
    })
    .await;
}

#[tokio::test]
async fn the_key_may_stand_in_any_of_three_places_but_two_must_agree() {
    on_every_stack(async |app| {
        let (key, other) = (app.key("free").await, app.key("free").await);
        let post = |client: &tollgate_tests::answer::Client| client.request(reqwest::Method::POST, VALIDATE);
        let anyone = app.anyone();
        send(post(&anyone).header("x-api-key", &key.secret)).await.expect(200);
        anyone.post(VALIDATE, &json!({"api_key": key.secret})).await.expect(200);
        let same = app.validate_with(&key, json!({"api_key": key.secret})).await.expect(200);
        assert_eq!(same.body["remaining"], 97);
        app.validate_with(&key, json!({"api_key": other.secret})).await.expect_problem(400, "INVALID_REQUEST");
        let both = post(&app.holder(&key)).header("x-api-key", &other.secret);
        send(both).await.expect_problem(400, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn all_bad_credentials_are_answered_alike() {
    on_every_stack(async |app| {
        let deleted = app.key("free").await;
        app.admin.delete(&format!("/api/v1/api-keys/{}", deleted.id)).await.expect(204);
        let mut wrong_checksum = deleted.secret.clone();
        let last = if wrong_checksum.ends_with('0') { '1' } else { '0' };
        wrong_checksum.pop();
        wrong_checksum.push(last);
        let mut answers = vec![app.anyone().post(VALIDATE, &json!({})).await];
        for secret in [deleted.secret.as_str(), &wrong_checksum, "tg_live_short", "nonsense", "tgt_admin_nonsense"] {
            answers.push(app.anyone().with_credential(secret).post(VALIDATE, &json!({})).await);
        }
        let mut bodies = Vec::new();
        for answer in answers {
            let mut body = answer.expect_problem(401, "INVALID_API_KEY").body;
            body["instance"] = json!(null);
            bodies.push(body);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_denied_check_tells_exactly_when_to_come_back() {
    on_every_stack(async |app| {
        for algorithm in ["sliding_window", "sliding_log", "fixed_window"] {
            let key = app.key_limited(algorithm, 7, 60).await;
            let denied = app.exhaust(&key).await.expect_problem(429, "RATE_LIMIT_EXCEEDED");
            assert_eq!(denied.body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
            assert_eq!(denied.body["violated-policies"], json!(["per-hour"]));
            assert_eq!((&denied.body["allowed"], &denied.body["remaining"]), (&json!(false), &json!(0)));
            let seconds = denied.retry_after();
            assert!(seconds >= 1, "{}", denied.text);
            let header: i64 = denied.header("retry-after").parse().unwrap();
            assert!(header >= seconds, "Retry-After {header} is earlier than {seconds}");
            app.advance(seconds - 1);
            let early = app.validate(&key).await.expect(429);
            assert_eq!(early.retry_after(), 1, "{algorithm}");
            app.advance(1);
            app.validate(&key).await.expect(200);
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_consumes_nothing_and_a_look_neither() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 10, 3_600).await;
        app.validate_with(&key, json!({"requests": 8})).await.expect(200);
        for _ in 0..3 {
            app.validate_with(&key, json!({"requests": 3})).await.expect(429);
            let look = app.validate_with(&key, json!({"requests": 0})).await.expect(200);
            assert_eq!((&look.body["allowed"], &look.body["remaining"]), (&json!(true), &json!(2)));
        }
        app.validate_with(&key, json!({"requests": 2})).await.expect(200);
        app.validate_with(&key, json!({"requests": 0})).await.expect(200);
        app.usage_becomes(&key, 10, 9).await;
    })
    .await;
}

#[tokio::test]
async fn of_many_parallel_callers_exactly_the_limit_is_admitted() {
    on_every_stack(async |app| {
        let key = app.key_limited("sliding_window", 20, 3_600).await;
        let answers = join_all((0..60).map(|_| app.validate(&key))).await;
        let admitted = answers.iter().filter(|answer| answer.status == 200).count();
        let refused = answers.iter().filter(|answer| answer.status == 429).count();
        assert_eq!((admitted, refused), (20, 40));
        app.used_becomes(&key, 20).await;
    })
    .await;
}

#[tokio::test]
async fn all_limits_of_a_request_consume_or_none() {
    on_every_stack(async |app| {
        let burst = json!({"name": "per-second", "algorithm": "fixed_window", "limit": 2, "window": 1});
        let hour = json!({"name": "per-hour", "algorithm": "fixed_window", "limit": 5, "window": 3600});
        app.plan("bursty", json!([burst, hour]), json!({"limit": 1_000, "overage": "block"})).await;
        let key = app.key("bursty").await;
        assert_eq!(app.admitted(&key, 5).await, 2);
        let denied = app.validate(&key).await.expect(429);
        assert_eq!(denied.body["violated-policies"], json!(["per-second"]));
        assert_eq!(denied.retry_after(), 1);
        app.advance(1);
        assert_eq!(app.admitted(&key, 5).await, 2, "what the burst refused was not taken from the hour");
        app.advance(1);
        assert_eq!(app.admitted(&key, 5).await, 1);
        let denied = app.validate(&key).await.expect(429);
        assert_eq!(denied.body["violated-policies"], json!(["per-hour"]));
        assert!(denied.header("ratelimit-policy").contains("\"per-second\";q=2;w=1"), "{:?}", denied.headers);
    })
    .await;
}

#[tokio::test]
async fn a_used_up_quota_blocks_until_the_month_ends_where_the_plan_says_so() {
    on_every_stack(async |app| {
        let hour = json!([{"name": "per-hour", "limit": 1_000, "window": 3600}]);
        app.plan("blocked", hour.clone(), json!({"limit": 10, "overage": "block"})).await;
        app.plan("billed", hour, json!({"limit": 10, "overage": "bill"})).await;
        let (blocked, billed) = (app.key("blocked").await, app.key("billed").await);
        app.validate_with(&blocked, json!({"requests": 10})).await.expect(200);
        let refused = app.validate(&blocked).await.expect_problem(429, "QUOTA_EXCEEDED");
        assert_eq!((&refused.body["quota"]["used"], &refused.body["quota"]["remaining"]), (&json!(10), &json!(0)));
        app.validate_with(&billed, json!({"requests": 12})).await.expect(200);
        let current = app.used_becomes(&billed, 12).await;
        assert_eq!((&current["overage_requests"], &current["estimated_cost"]), (&json!(2), &json!("11.00")));

        app.advance(refused.retry_after() - 1);
        app.validate(&blocked).await.expect_problem(429, "QUOTA_EXCEEDED");
        app.advance(1);
        assert_eq!(app.clock.now().to_rfc3339(), "2031-06-01T00:00:00+00:00");
        app.validate(&blocked).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_check_that_is_wrong_is_refused_before_it_counts() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        for (body, pointer) in [
            (json!({"requests": 1_000_001}), "/requests"),
            (json!({"requests": -1}), "/requests"),
            (json!({"ip_address": "nowhere"}), "/ip_address"),
            (json!({"country": "Germany"}), "/country"),
            (json!({"surprise": 1}), "/surprise"),
            (json!({"endpoint": 5}), "/endpoint"),
        ] {
            let refused = app.validate_with(&key, body.clone()).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), [pointer], "{body}");
        }
        assert_eq!(app.validate(&key).await.expect(200).body["remaining"], 99);
    })
    .await;
}

/// A check from this machine with a body and perhaps an `X-Forwarded-For`.
async fn check_from(app: &App, key: &Key, body: serde_json::Value, forwarded: Option<&str>) -> Answer {
    let request = app.holder(key).request(reqwest::Method::POST, VALIDATE).json(&body);
    send(match forwarded {
        Some(hops) => request.header("x-forwarded-for", hops),
        None => request,
    })
    .await
}

#[tokio::test]
async fn a_sender_speaks_for_itself_alone() {
    on_every_stack(async |app| {
        let elsewhere = app.key_with(json!({"allowed_ips": ["192.0.2.0/24", "::ffff:198.51.100.0/120"]})).await;
        for named in ["192.0.2.7", "198.51.100.7", "::ffff:192.0.2.7"] {
            let body = json!({"ip_address": named});
            check_from(app, &elsewhere, body.clone(), None).await.expect_problem(403, "IP_NOT_ALLOWED");
            check_from(app, &elsewhere, body, Some(named)).await.expect_problem(403, "IP_NOT_ALLOWED");
        }
        let here = app.key_with(json!({"allowed_ips": ["127.0.0.1"]})).await;
        check_from(app, &here, json!({"ip_address": "192.0.2.7"}), None).await.expect(200);
        let at_home = app.key_with(json!({"allowed_countries": ["DE"]})).await;
        check_from(app, &at_home, json!({"country": "DE"}), None).await.expect_problem(403, "COUNTRY_NOT_ALLOWED");
        for (key, told) in [(&elsewhere, json!({"ip_address": "192.0.2.7"})), (&at_home, json!({"country": "de"}))] {
            let mut call = told;
            call["api_key_id"] = json!(key.id);
            app.admin.post("/api/v1/rate-limit/check", &call).await.expect(200);
        }
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_clients_and_they_still_for_themselves_alone() {
    // Both ways to write this machine's network, and an empty element in the list of hops.
    for trusted in ["127.0.0.0/8", "::ffff:127.0.0.0/104"] {
        on_every_stack_with(&[("api.trusted_proxies", trusted)], async |app| {
            let key = app.key_with(json!({"allowed_ips": ["192.0.2.0/24"], "allowed_countries": ["de"]})).await;
            assert_eq!(key.record["allowed_countries"], json!(["DE"]));
            let told = json!({"ip_address": "192.0.2.7", "country": "DE"});
            check_from(app, &key, told.clone(), None).await.expect(200);
            check_from(app, &key, told.clone(), Some(", ")).await.expect(200);
            check_from(app, &key, told.clone(), Some("127.0.0.9,")).await.expect(200);
            let client = check_from(app, &key, told.clone(), Some("203.0.113.9")).await;
            client.expect_problem(403, "IP_NOT_ALLOWED");
            let client = check_from(app, &key, told, Some("192.0.2.7,, 127.0.0.9, ")).await;
            client.expect_problem(403, "COUNTRY_NOT_ALLOWED");
            let own = app.key_with(json!({"allowed_ips": ["::ffff:203.0.113.0/120"]})).await;
            assert_eq!(own.record["allowed_ips"], json!(["203.0.113.0/24"]));
            check_from(app, &own, json!({}), Some("198.51.100.1, 203.0.113.9, ,127.0.0.9")).await.expect(200);
            check_from(app, &own, json!({}), Some("203.0.113.9, 198.51.100.1,"))
                .await
                .expect_problem(403, "IP_NOT_ALLOWED");
        })
        .await;
    }
}

#[tokio::test]
async fn hostile_names_are_counted_apart_and_break_nothing() {
    on_every_stack(async |app| {
        let names = ["{0}", "a:b", "a\\", "..", "\u{202e}x", "é", "-- ", "'"];
        let mut keys: Vec<Key> = Vec::new();
        for name in names {
            keys.push(app.key_with(json!({"name": name, "owner_id": name, "tags": [name]})).await);
        }
        for (key, name) in keys.iter().zip(names) {
            let answer = app.validate_with(key, json!({"endpoint": name, "user_agent": name})).await.expect(200);
            assert_eq!(answer.body["remaining"], 99, "{name:?}");
            assert_eq!(answer.body["key"]["owner_id"], name);
        }
        endpoint_of_a_kilobyte_is_refused(app, &keys[0]).await;
    })
    .await;
}

async fn endpoint_of_a_kilobyte_is_refused(app: &App, key: &Key) {
    let long = app.validate_with(key, json!({"endpoint": "/".repeat(1_024)})).await;
    assert_eq!(long.expect_problem(422, "INVALID_REQUEST").pointers(), ["/endpoint"]);
}

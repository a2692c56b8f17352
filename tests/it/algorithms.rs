//! How plans and keys may count: buckets, calendar periods, costs, and limits that an owner's keys share.

use serde_json::json;
use tollgate_tests::app::on_every_stack;

#[tokio::test]
async fn a_token_bucket_lets_a_burst_through_and_then_its_rate() {
    on_every_stack(async |app| {
        let bucket = json!({"name": "per-hour", "algorithm": "token_bucket", "limit": 60, "window": 60, "burst": 5});
        let key = app.key_with(json!({"limits": [bucket]})).await;
        assert_eq!(app.admitted(&key, 8).await, 5);
        let refused = app.validate(&key).await.expect_problem(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(refused.retry_after(), 1, "a token flows in each second");
        app.advance(2);
        assert_eq!(app.admitted(&key, 4).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_log_admits_its_limit_in_any_window_and_holds_nobody_up_longer() {
    on_every_stack(async |app| {
        let one = json!({"name": "per-hour", "algorithm": "sliding_log", "limit": 1, "window": 4});
        let key = app.key_with(json!({"limits": [one]})).await;
        for _ in 0..5 {
            app.validate(&key).await.expect(200);
            assert_eq!(app.validate(&key).await.expect(429).retry_after(), 4, "and never 7, as of two cells");
            app.advance(3);
            assert_eq!(app.validate(&key).await.expect(429).retry_after(), 1);
            app.advance(1);
        }
        let log = json!({"name": "per-hour", "algorithm": "sliding_log", "limit": 10, "window": 60});
        let key = app.key_with(json!({"limits": [log]})).await;
        for (units, left) in [(4, 6), (5, 1)] {
            assert_eq!(app.validate_with(&key, json!({"requests": units})).await.expect(200).body["remaining"], left);
            app.advance(20);
        }
        // 40 s after four, 20 s after five.
        for (units, wait) in [(2, 20), (5, 20), (6, 40), (10, 40)] {
            assert_eq!(app.validate_with(&key, json!({"requests": units})).await.expect(429).retry_after(), wait);
        }
        app.advance(20);
        assert_eq!(app.admitted(&key, 9).await, 5);
        app.used_becomes(&key, 14).await;
    })
    .await;
}

#[tokio::test]
async fn a_log_can_be_shared_weighted_reset_and_changed_like_any_limit() {
    on_every_stack(async |app| {
        let log =
            json!({"name": "log", "algorithm": "sliding_log", "limit": 20, "window": 60, "per": "owner", "cost": 4});
        let wide = json!({"name": "per-hour", "limit": 1_000, "window": 3_600});
        let body = json!({"owner_id": "acme", "limits": [log, wide]});
        let (first, second) = (app.key_with(body.clone()).await, app.key_with(body).await);
        assert_eq!(app.admitted(&first, 3).await, 3);
        assert_eq!(app.admitted(&second, 3).await, 2, "what its owner has left");
        let preview = json!({"api_key_id": second.id});
        let preview = app.admin.post("/api/v1/rate-limit/preview", &preview).await.expect(200);
        let limits = preview.data()["limits"].as_array().expect("limits").clone();
        let of_log = limits.iter().find(|limit| limit["name"] == "log").expect("the log");
        assert_eq!((&of_log["used"], &of_log["algorithm"]), (&json!(20), &json!("sliding_log")), "{of_log}");
        assert_eq!((&of_log["max_overshoot"], &preview.data()["retry_after"]), (&json!(0), &json!(60)));

        let own = json!({"name": "per-hour", "algorithm": "sliding_log", "limit": 3, "window": 60});
        let key = app.key_with(json!({"limits": [own]})).await;
        assert_eq!(app.admitted(&key, 5).await, 3);
        let path = format!("/api/v1/rate-limit/{}", key.id);
        app.admin.put(&path, &json!({"new_limit": 5})).await.expect(200);
        assert_eq!(app.admitted(&key, 5).await, 2, "a raised limit helps at once, and what was counted counts");
        let refused = app.admin.put(&path, &json!({"new_limit": 1_001})).await.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(refused.pointers(), ["/new_limit"]);
        app.admin.put(&path, &json!({"new_limit": 1_000})).await.expect(200);
        app.admin.post(&format!("{path}/reset"), &json!({})).await.expect(200);
        let all = app.validate_with(&key, json!({"requests": 1_000})).await.expect(200);
        assert_eq!((&all.body["remaining"], &all.body["reset_in_seconds"]), (&json!(0), &json!(60)));
    })
    .await;
}

#[tokio::test]
async fn a_calendar_limit_starts_anew_with_the_local_day() {
    on_every_stack(async |app| {
        let calendar = json!({"unit": "day", "timezone": "Asia/Tokyo"});
        let daily = json!({"name": "per-day", "algorithm": "fixed_window", "limit": 2, "calendar": calendar});
        let key = app.key_with(json!({"tier": "enterprise", "limits": [daily]})).await;
        assert_eq!(app.admitted(&key, 3).await, 2);
        let refused = app.validate(&key).await.expect_problem(429, "RATE_LIMIT_EXCEEDED");
        let now = app.clock.now().timestamp();
        // Tokyo is nine hours ahead of UTC all year: its midnight is 15:00 UTC.
        let until_midnight = 86_400 - (now + 9 * 3_600).rem_euclid(86_400);
        assert!((until_midnight..=until_midnight + 1).contains(&refused.retry_after()), "{}", refused.text);
        app.advance(refused.retry_after());
        assert_eq!(app.admitted(&key, 3).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_limit_with_a_cost_takes_so_much_for_each_unit() {
    on_every_stack(async |app| {
        let dear = json!({"name": "dear", "algorithm": "fixed_window", "limit": 10, "window": 3_600, "cost": 4});
        let key = app.key_with(json!({"limits": [dear]})).await;
        assert_eq!(app.admitted(&key, 4).await, 2);
        app.used_becomes(&key, 2).await;
    })
    .await;
}

#[tokio::test]
async fn an_owners_keys_share_a_limit_and_all_limits_consume_or_none_does() {
    on_every_stack(async |app| {
        let shared =
            json!({"name": "of-owner", "algorithm": "fixed_window", "limit": 3, "window": 3_600, "per": "owner"});
        let own = json!({"name": "of-key", "algorithm": "fixed_window", "limit": 2, "window": 3_600});
        let with_owner = |owner: &str| json!({"owner_id": owner, "limits": [own.clone(), shared.clone()]});
        let (first, second) = (app.key_with(with_owner("acme")).await, app.key_with(with_owner("acme")).await);
        assert_eq!(app.admitted(&first, 3).await, 2, "its own limit");
        assert_eq!(app.admitted(&second, 3).await, 1, "what its owner has left");
        let refused = app.validate(&second).await.expect_problem(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(refused.body["violated-policies"], json!(["of-owner"]));
        let left = refused.body["limits"].as_array().into_iter().flatten().find(|limit| limit["name"] == "of-key");
        assert_eq!(left.map(|limit| &limit["remaining"]), Some(&json!(1)), "a refusal took nothing: {}", refused.text);
        assert_eq!(app.admitted(&app.key_with(with_owner("globex")).await, 3).await, 2, "another owner's counter");
        app.used_becomes(&second, 1).await;
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_together_is_named() {
    on_every_stack(async |app| {
        let limits = json!([
            {"name": "a", "limit": 1, "window": 60, "burst": 5},
            {"name": "b", "limit": 1, "calendar": {"unit": "day"}},
            {"name": "c", "algorithm": "fixed_window", "limit": 1, "calendar": {"unit": "month", "timezone": "Mars/Base"}},
            {"name": "d", "limit": 1, "window": 60, "cost": 0},
            {"name": "e", "algorithm": "sliding_log", "limit": 1_001, "window": 60, "burst": 5},
            {"name": "f", "algorithm": "sliding_log", "limit": 1, "calendar": {"unit": "day"}},
            {"name": "g", "algorithm": "token_bucket", "limit": 1, "window": 31_622_400, "burst": 11},
        ]);
        let body = json!({"name": "k", "tier": "free", "limits": limits});
        let refused = app.admin.post("/api/v1/api-keys", &body).await.expect_problem(422, "INVALID_REQUEST");
        let wrong = [
            "/limits/0/burst",
            "/limits/1/calendar",
            "/limits/2/calendar/timezone",
            "/limits/3/cost",
            "/limits/4/burst",
            "/limits/4/limit",
            "/limits/5/calendar",
            "/limits/6/burst",
        ];
        assert_eq!(refused.pointers(), wrong, "{}", refused.text);
    })
    .await;
}

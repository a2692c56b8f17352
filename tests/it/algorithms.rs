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
        ]);
        let body = json!({"name": "k", "tier": "free", "limits": limits});
        let refused = app.admin.post("/api/v1/api-keys", &body).await.expect_problem(422, "INVALID_REQUEST");
        let wrong = ["/limits/0/burst", "/limits/1/calendar", "/limits/2/calendar/timezone", "/limits/3/cost"];
        assert_eq!(refused.pointers(), wrong, "{}", refused.text);
    })
    .await;
}

//! A key's spend cap is one more limit: exact, whoever asks at the same time.

use serde_json::{Value, json};
use tollgate_tests::app::{App, Key, on_every_stack};

use super::records::{go_to, members};

/// A plan without a rate limit that matters.
async fn plan(app: &App, name: &str, prices: Value, quota: Value) {
    let limits = json!([{"name": "per-hour", "limit": 1_000_000, "window": 3600}]);
    let body = json!({"name": name, "limits": limits, "quota": quota, "prices": prices});
    app.admin.post("/api/v1/plans", &body).await.expect(201);
}

async fn key(app: &App, tier: &str, cap: Value) -> Key {
    app.key_with(json!({"tier": tier, "spend_cap": cap})).await
}

/// How many of as many single requests pass, sent ten at a time.
async fn admitted(app: &App, key: &Key, tries: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..tries.div_ceil(10) {
        let ten = (0..10).map(|_| app.validate(key));
        admitted += u32::try_from(futures_util::future::join_all(ten).await.iter().filter(|a| a.status == 200).count())
            .unwrap();
    }
    admitted
}

#[tokio::test]
async fn a_cap_admits_what_it_pays_for_and_not_one_more() {
    on_every_stack(async |app| {
        let prices = json!({"currency": "USD", "base": "0", "included_units": 0, "unit_amount": "0.004"});
        plan(app, "payg", prices, json!(null)).await;
        let key = key(app, "payg", json!("1.00")).await;
        assert_eq!(key.record["spend_cap"], "1.00");
        assert_eq!(admitted(app, &key, 300).await, 250);
        let refused = app.validate(&key).await.expect_problem(429, "SPEND_CAP_REACHED");
        assert_eq!(refused.body["violated-policies"], json!(["spend-cap"]));
        assert_eq!(refused.body["reset_time"], "2031-06-01T00:00:00Z");
        let current = app.used_becomes(&key, 250).await;
        assert_eq!(current["estimated_cost"], "1.00");
        // More helps at once, less blocks, and none is none.
        let path = format!("/api/v1/api-keys/{}", key.id);
        app.admin.put(&path, &json!({"spend_cap": "1.02"})).await.expect(200);
        assert_eq!(admitted(app, &key, 20).await, 5);
        app.admin.put(&path, &json!({"spend_cap": "0.50"})).await.expect(200);
        app.validate(&key).await.expect_problem(429, "SPEND_CAP_REACHED");
        app.admin.put(&path, &json!({"spend_cap": null})).await.expect(200);
        assert_eq!(admitted(app, &key, 20).await, 20);
        // The next month begins anew.
        app.admin.put(&path, &json!({"spend_cap": "0.04"})).await.expect(200);
        app.validate(&key).await.expect_problem(429, "SPEND_CAP_REACHED");
        go_to(app, "2031-06-01T00:00:00Z");
        assert_eq!(admitted(app, &key, 20).await, 10);
    })
    .await;
}

#[tokio::test]
async fn included_units_and_the_base_are_within_any_cap() {
    on_every_stack(async |app| {
        let prices = json!({"currency": "USD", "base": "29.00", "unit_amount": "0.50", "spend_cap": "20.00"});
        plan(app, "capped", prices, json!({"limit": 30, "overage": "bill"})).await;
        let of_plan = key(app, "capped", json!(null)).await;
        assert_eq!(admitted(app, &of_plan, 40).await, 30);
        let own = key(app, "capped", json!("31.00")).await;
        assert_eq!(admitted(app, &own, 40).await, 34);
        // Nothing is free: nothing passes.
        let prices = json!({"currency": "USD", "base": "0", "included_units": 0, "unit_amount": "0.50"});
        plan(app, "dear", prices, json!(null)).await;
        let none = key(app, "dear", json!("0.00")).await;
        let refused = app.validate(&none).await.expect_problem(429, "SPEND_CAP_REACHED");
        assert_eq!(members(&refused.body, &["remaining"]), "0");
    })
    .await;
}

#[tokio::test]
async fn a_falling_price_stops_at_the_first_crossing() {
    on_every_stack(async |app| {
        let tier =
            |up_to: Value, unit: &str, flat: &str| json!({"up_to": up_to, "unit_amount": unit, "flat_amount": flat});
        let tiers = json!([
            tier(json!(5), "0", "100"),
            tier(json!(10), "0", "150"),
            tier(json!(15), "10", "0"),
            tier(json!(null), "5", "0")
        ]);
        let prices = json!({"currency": "USD", "base": "0", "included_units": 0, "model": "volume", "tiers": tiers});
        plan(app, "volume", prices, json!(null)).await;
        let key = key(app, "volume", json!("145.00")).await;
        assert_eq!(admitted(app, &key, 20).await, 5);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_plan_leaves_what_is_left_of_the_cap() {
    on_every_stack(async |app| {
        for (name, unit) in [("cheap", "0.10"), ("costly", "1.00")] {
            let prices = json!({"currency": "USD", "base": "0", "included_units": 0, "unit_amount": unit});
            plan(app, name, prices, json!(null)).await;
        }
        let key = key(app, "cheap", json!("10.00")).await;
        assert_eq!(admitted(app, &key, 40).await, 40);
        app.used_becomes(&key, 40).await;
        app.admin.put(&format!("/api/v1/api-keys/{}", key.id), &json!({"tier": "costly"})).await.expect(200);
        // Until the next minute a unit costs what it did.
        assert_eq!(admitted(app, &key, 10).await, 10);
        app.used_becomes(&key, 50).await;
        app.advance(60);
        assert_eq!(admitted(app, &key, 20).await, 5);
        assert_eq!(app.used_becomes(&key, 55).await["estimated_cost"], "10.00");
    })
    .await;
}

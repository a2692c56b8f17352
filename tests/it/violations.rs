//! `GET /api/v1/rate-limit/{id}/violations`: who was refused, by which limit, where, how often.

use serde_json::{Value, json};
use tollgate_tests::{
    app::{App, Key, USAGE_WITHIN, on_every_stack, on_every_stack_with},
    wait::within_promise,
};

async fn violations(app: &App, key: &Key, query: &str) -> Value {
    app.admin.get(&format!("/api/v1/rate-limit/{}/violations?{query}", key.id)).await.expect(200).body
}

async fn total_becomes(app: &App, key: &Key, refusals: u64) -> Vec<Value> {
    within_promise(&format!("{refusals} refusals are seen"), USAGE_WITHIN, async || {
        let rows = violations(app, key, "").await["data"].as_array().unwrap().clone();
        let seen: u64 = rows.iter().map(|row| row["count"].as_u64().unwrap()).sum();
        assert!(seen <= refusals, "{rows:?}");
        (seen == refusals).then_some(rows)
    })
    .await
}

#[tokio::test]
async fn an_attack_is_one_row_per_minute_endpoint_and_limit() {
    on_every_stack_with(&[("api.trusted_proxies", "127.0.0.1")], async |app| {
        let key = app.key_limited("fixed_window", 1, 3_600).await;
        app.validate(&key).await.expect(200);
        for number in 0..30 {
            let endpoint = if number % 3 == 0 { "/login" } else { "/search" };
            app.validate_with(&key, json!({"endpoint": endpoint, "ip_address": "192.0.2.9"})).await.expect(429);
        }
        let rows = total_becomes(app, &key, 30).await;
        assert!(rows.len() <= 2, "{rows:?}");
        let login = rows.iter().find(|row| row["endpoint"] == "/login").expect("a row of /login");
        assert_eq!((&login["count"], &login["ip_address"]), (&json!(10), &json!("192.0.2.0")), "{login}");
        assert!(login.to_string().contains("per-hour"), "{login}");
        app.usage_becomes(&key, 1, 30).await;
    })
    .await;
}

#[tokio::test]
async fn violations_are_paged_from_the_newest_without_gap_or_repeat() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 1, 3_600_000).await;
        app.validate(&key).await.expect(200);
        for _ in 0..7 {
            app.advance(60);
            app.validate_with(&key, json!({"endpoint": "/a"})).await.expect(429);
            app.validate_with(&key, json!({"endpoint": "/b"})).await.expect(429);
        }
        let all = total_becomes(app, &key, 14).await;
        assert_eq!(all.len(), 14);
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        for _ in 0..14 {
            let page = violations(app, &key, &format!("limit=3{cursor}")).await;
            paged.extend(page["data"].as_array().unwrap().iter().cloned());
            let Some(next) = page["pagination"]["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, all);
        let last_at = |row: &Value| row["last_at"].as_str().unwrap().to_owned();
        assert!(paged.windows(2).all(|pair| last_at(&pair[0]) >= last_at(&pair[1])), "{paged:?}");
        app.advance(3_600 * 2);
        assert_eq!(violations(app, &key, "hours=1").await["data"], json!([]));
        for wrong in ["hours=0", "hours=169", "cursor=nonsense"] {
            let answer = app.admin.get(&format!("/api/v1/rate-limit/{}/violations?{wrong}", key.id)).await;
            answer.expect_problem(400, "INVALID_REQUEST");
        }
    })
    .await;
}

#[tokio::test]
async fn a_callers_network_is_kept_and_the_whole_address_only_where_the_operator_says_so() {
    let proxy = ("api.trusted_proxies", "127.0.0.1");
    for (full_ip, shown) in [("false", ["192.0.2.0", "2001:db8:1::"]), ("true", ["192.0.2.9", "2001:db8:1:2::3"])] {
        on_every_stack_with(&[proxy, ("privacy.full_ip", full_ip)], async |app| {
            let key = app.key_limited("fixed_window", 1, 3_600).await;
            app.validate(&key).await.expect(200);
            for (endpoint, address) in [("/4", "::ffff:192.0.2.9"), ("/6", "2001:db8:1:2::3")] {
                app.validate_with(&key, json!({"endpoint": endpoint, "ip_address": address})).await.expect(429);
            }
            let rows = total_becomes(app, &key, 2).await;
            for (endpoint, shown) in ["/4", "/6"].into_iter().zip(shown) {
                let row = rows.iter().find(|row| row["endpoint"] == endpoint).expect("a row");
                assert_eq!(row["ip_address"], shown, "{row}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn one_keys_flood_of_endpoints_hides_no_other_keys() {
    on_every_stack(async |app| {
        let flooded = app.key_limited("fixed_window", 1, 3_600).await;
        let calm = app.key_limited("fixed_window", 1, 3_600).await;
        for key in [&flooded, &calm] {
            app.validate(key).await.expect(200);
        }
        for number in 0..300 {
            app.validate_with(&flooded, json!({"endpoint": format!("/{number}")})).await.expect(429);
        }
        app.validate_with(&calm, json!({"endpoint": "/quiet"})).await.expect(429);
        let quiet = total_becomes(app, &calm, 1).await;
        assert_eq!(quiet[0]["endpoint"], "/quiet", "{quiet:?}");
        let of_flooded = format!("/api/v1/api-keys/{}/stats", flooded.id);
        within_promise("300 refusals are counted", USAGE_WITHIN, async || {
            let stats = app.admin.get(&of_flooded).await.expect(200);
            (stats.data()["violations"] == 300).then_some(())
        })
        .await;
    })
    .await;
}

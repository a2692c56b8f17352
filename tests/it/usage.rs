//! `/api/v1/usage/**`: how much has a key used, what does it owe?

use serde_json::json;
use tollgate_domain::{Scope, TenantId};
use tollgate_tests::{
    app::{USAGE_WITHIN, on_every_stack},
    wait::within_promise,
};
use uuid::Uuid;

#[tokio::test]
async fn usage_is_seen_in_real_time() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        app.validate_with(&key, json!({"requests": 40})).await.expect(200);
        let current = app.used_becomes(&key, 40).await;
        assert_eq!(current["api_key_id"], json!(key.id));
        assert_eq!(current["billing_period"], json!({"start": "2031-05-01T00:00:00Z", "end": "2031-06-01T00:00:00Z"}));
        assert_eq!((&current["requests_limit"], &current["requests_remaining"]), (&json!(100_000), &json!(99_960)));
        assert_eq!((&current["overage_requests"], &current["rate_limited"]), (&json!(0), &json!(0)));
        assert_eq!((&current["estimated_cost"], &current["currency"]), (&json!("29.00"), &json!("USD")));
        assert_eq!(current["as_of"], "2031-05-15T10:20:30Z");
    })
    .await;
}

#[tokio::test]
async fn a_history_has_no_gaps_and_adds_up() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 50, 60).await;
        let mut made = 0;
        for (hours, requests) in [(0, 10), (2, 20), (46, 30), (24 * 20, 40)] {
            app.advance(hours * 3_600);
            app.validate_with(&key, json!({"requests": requests})).await.expect(200);
            made += requests;
        }
        app.exhaust(&key).await;
        made += 10;
        app.advance(60);
        let history = async |query: &str| {
            let path = format!("/api/v1/usage/{}/history?{query}", key.id);
            within_promise("the whole history is seen", USAGE_WITHIN, async || {
                let answer = app.admin.get(&path).await.expect(200);
                (answer.data()["summary"]["requests"].as_u64() > Some(made)).then(|| answer.data().clone())
            })
            .await
        };
        // The refused request was made, too.
        let all = "start_date=2031-05-15&end_date=2031-06-06";
        for (granularity, buckets) in [("hourly", 23 * 24), ("daily", 23), ("monthly", 2)] {
            let data = history(&format!("{all}&granularity={granularity}")).await;
            let usage = data["usage"].as_array().unwrap();
            assert_eq!(usage.len(), buckets, "{granularity}");
            let sum = |member: &str| usage.iter().map(|bucket| bucket[member].as_u64().unwrap()).sum::<u64>();
            assert_eq!((sum("successful"), sum("rate_limited")), (made, 1), "{granularity}");
            assert_eq!(data["summary"]["successful"], made);
        }
        let daily = history(&format!("{all}&granularity=daily")).await;
        assert_eq!((&daily["usage"][0]["successful"], &daily["usage"][1]["successful"]), (&json!(30), &json!(0)));
        for wrong in ["granularity=weekly", "start_date=soon", "start_date=2031-05-16&end_date=2031-05-15"] {
            let answer = app.admin.get(&format!("/api/v1/usage/{}/history?{wrong}", key.id)).await;
            answer.expect_problem(400, "INVALID_REQUEST");
        }
    })
    .await;
}

#[tokio::test]
async fn a_history_up_to_a_date_includes_that_day_and_up_to_a_time_ends_before_it() {
    on_every_stack(async |app| {
        let key = app.key("pro").await;
        let history = async |query: &str| {
            let path = format!("/api/v1/usage/{}/history?{query}", key.id);
            let data = app.admin.get(&path).await.expect(200).data().clone();
            let ends = ["start", "end"].map(|end| data["period"][end].as_str().unwrap().to_owned());
            (ends, data["usage"].as_array().unwrap().len())
        };
        let of = |start: &str, end: &str, buckets: usize| ([start.to_owned(), end.to_owned()], buckets);
        let day = |steps| of("2031-05-15T00:00:00Z", "2031-05-16T00:00:00Z", steps);
        for (end, hours) in [("2031-05-15", 24), ("2031-05-16T00:00:00Z", 24), ("2031-05-15T23:00:00.000001Z", 24)] {
            assert_eq!(history(&format!("start_date=2031-05-15&end_date={end}&granularity=hourly")).await, day(hours));
            assert_eq!(history(&format!("start_date=2031-05-15&end_date={end}")).await, day(1));
        }
        let until_noon = history("start_date=2031-05-15&end_date=2031-05-15T12:00:00Z&granularity=hourly").await;
        assert_eq!(until_noon, of("2031-05-15T00:00:00Z", "2031-05-15T12:00:00Z", 12));
        let offset = history("start_date=2031-05-15T02:00:00%2B02:00&end_date=2031-05-15&granularity=hourly").await;
        assert_eq!(offset, day(24));
        let months = history("start_date=2031-04-30&end_date=2031-05-01&granularity=monthly").await;
        assert_eq!(months, of("2031-04-01T00:00:00Z", "2031-06-01T00:00:00Z", 2));
        assert_eq!(history("end_date=2031-05-15").await, of("2031-04-16T00:00:00Z", "2031-05-16T00:00:00Z", 30));
        for wrong in [
            "start_date=2031-05-16&end_date=2031-05-15",
            "start_date=2031-05-15&end_date=2031-05-15T00:00:00Z",
            "start_date=2031-05-15T10:00:00Z&end_date=2031-05-15T10:00:00Z",
            "start_date=2031-5-15",
            "start_date=12031-05-15",
            "end_date=2031-05-15T24:00:00Z",
            "end_date=2031-06-30T23:59:60Z",
            "end_date=2031-05-15%2010:00:00Z",
        ] {
            let answer = app.admin.get(&format!("/api/v1/usage/{}/history?{wrong}", key.id)).await;
            answer.expect_problem(400, "INVALID_REQUEST");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_reads_its_own_usage_and_no_other() {
    on_every_stack(async |app| {
        let (key, other) = (app.key("pro").await, app.key("pro").await);
        let own = app.holder(&key);
        for route in ["current", "history?granularity=daily", "limits"] {
            own.get(&format!("/api/v1/usage/{}/{route}", key.id)).await.expect(200);
            own.get(&format!("/api/v1/usage/{}/{route}", other.id)).await.expect_problem(404, "NOT_FOUND");
        }
        let limits = own.get(&format!("/api/v1/usage/{}/limits", key.id)).await.expect(200);
        assert_eq!(limits.data()["tier"], "pro");
        assert!(limits.text.contains("1000000") && limits.text.contains("usage export"), "{}", limits.text);
    })
    .await;
}

#[tokio::test]
async fn requests_are_units_in_every_sum_refused_ones_too() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 100, 3_600).await;
        app.validate_with(&key, json!({"requests": 99})).await.expect(200);
        for _ in 0..9 {
            app.validate_with(&key, json!({"requests": 50})).await.expect(429);
        }
        app.admin.post(&format!("/api/v1/api-keys/{}/suspend", key.id), &json!({"seconds": 60})).await.expect(200);
        app.validate_with(&key, json!({"requests": 7})).await.expect(403);
        let current = app.usage_becomes(&key, 99, 450).await;
        assert_eq!(current["requests_made"], 99, "{current}");
        let sums = json!({"requests": 556, "successful": 99, "rate_limited": 450, "errors": 7});
        let path = format!("/api/v1/api-keys/{}/stats", key.id);
        let stats = within_promise("the violations are there", USAGE_WITHIN, async || {
            let stats = app.admin.get(&path).await.expect(200).data().clone();
            (stats["violations"].as_u64() >= Some(9) && stats["usage_stats"]["total_requests"].as_u64() >= Some(556))
                .then_some(stats)
        })
        .await;
        let history = |granularity: &str| format!("/api/v1/usage/{}/history?granularity={granularity}", key.id);
        for granularity in ["hourly", "daily", "monthly"] {
            let history = app.admin.get(&history(granularity)).await.expect(200);
            assert_eq!(history.data()["summary"], sums, "{granularity}: {}", history.text);
        }
        assert_eq!(stats["usage_stats"]["total_requests"], 556, "{stats}");
        assert_eq!(stats["usage_stats"]["requests_today"], 556, "{stats}");
        let hour = stats["last_24_hours"].as_array().unwrap().last().unwrap();
        for member in ["requests", "successful", "rate_limited", "errors"] {
            assert_eq!(hour[member], sums[member], "{member} of {hour}");
        }
        assert!((stats["success_rate"].as_f64().unwrap() - 99.0 / 556.0).abs() < 1e-9, "{stats}");
        assert_eq!(stats["violations"], 9, "decisions: {stats}");
    })
    .await;
}

#[tokio::test]
async fn what_a_deleted_key_used_stays_readable_by_its_id_and_the_key_does_not() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 3, 3_600).await;
        app.validate_with(&key, json!({"requests": 3})).await.expect(200);
        app.validate(&key).await.expect(429);
        app.usage_becomes(&key, 3, 1).await;
        app.admin.delete(&format!("/api/v1/api-keys/{}", key.id)).await.expect(204);
        let stats = format!("/api/v1/api-keys/{}/stats", key.id);
        let of_usage = ["current", "history", "limits"].map(|what| format!("/api/v1/usage/{}/{what}", key.id));
        for path in of_usage.iter().chain([&stats]) {
            let answer = app.admin.get(path).await.expect(200);
            assert_eq!(answer.data()["deleted_at"], "2031-05-15T10:20:30Z", "{path}: {}", answer.text);
        }
        assert_eq!(app.current(&key).await["requests_made"], 3);
        let violations = format!("/api/v1/rate-limit/{}/violations", key.id);
        within_promise("the refusal is listed", USAGE_WITHIN, async || {
            let rows = app.admin.get(&violations).await.expect(200);
            (rows.body["data"].as_array().map(Vec::len) == Some(1)).then_some(())
        })
        .await;
        app.admin.get(&format!("/api/v1/api-keys/{}", key.id)).await.expect_problem(404, "NOT_FOUND");
        app.admin.get(&format!("/api/v1/rate-limit/{}/info", key.id)).await.expect_problem(404, "NOT_FOUND");
        let list = app.admin.get("/api/v1/api-keys").await.expect(200);
        assert!(!list.text.contains(&key.id), "{}", list.text);
        let stranger = app.token(TenantId(Uuid::from_u128(77)), Scope::ALL).await;
        for path in of_usage.iter().chain([&stats, &violations]) {
            stranger.get(path).await.expect_problem(404, "NOT_FOUND");
        }
    })
    .await;
}

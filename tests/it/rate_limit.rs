//! `/api/v1/rate-limit/**`: the same decision for a back end, and limits seen, explained, changed and reset by hand.

use serde_json::json;
use tollgate_tests::app::on_every_stack;

const LIMITS: &str = "/api/v1/rate-limit";

#[tokio::test]
async fn a_back_end_checks_by_id_against_the_same_counters() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.validate(&key).await.expect(200);
        let body = json!({"api_key_id": key.id, "endpoint": "/v1/orders", "method": "GET"});
        let checked = app.admin.post(&format!("{LIMITS}/check"), &body).await.expect(200);
        assert_eq!((&checked.body["allowed"], &checked.body["remaining"]), (&json!(true), &json!(98)));
        assert_eq!(checked.header("x-ratelimit-remaining"), "98");
        app.exhaust(&key).await;
        let refused = app.admin.post(&format!("{LIMITS}/check"), &body).await;
        refused.expect_problem(429, "RATE_LIMIT_EXCEEDED");
        let unknown = json!({"api_key_id": app.clock.new_id(), "endpoint": "/", "method": "GET"});
        app.admin.post(&format!("{LIMITS}/check"), &unknown).await.expect_problem(404, "NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn each_check_of_a_batch_is_decided_on_its_own_in_order() {
    on_every_stack(async |app| {
        let (tight, wide) = (app.key_limited("fixed_window", 2, 3_600).await, app.key("free").await);
        let check = |id: &str| json!({"api_key_id": id, "endpoint": "/", "method": "GET"});
        let unknown = app.clock.new_id().to_string();
        let ids = [&tight.id, &tight.id, &tight.id, &unknown, &wide.id];
        let checks: Vec<_> = ids.iter().map(|id| check(id)).collect();
        let answer = app.admin.post(&format!("{LIMITS}/check-batch"), &json!({"checks": checks})).await.expect(200);
        let answers = answer.data().as_array().expect("answers");
        let allowed: Vec<_> = answers.iter().map(|one| one["allowed"] == true).collect();
        assert_eq!(allowed, [true, true, false, false, true], "{}", answer.text);
        assert_eq!(answers[3]["code"], "NOT_FOUND", "{}", answer.text);
        for wrong in [json!([]), json!(vec![check(&wide.id); 1_001])] {
            let refused = app.admin.post(&format!("{LIMITS}/check-batch"), &json!({"checks": wrong})).await;
            assert!(matches!(refused.status, 413 | 422), "{}", refused.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_preview_explains_and_consumes_nothing() {
    on_every_stack(async |app| {
        let extra = json!({"name": "own", "limit": 3, "window": 60});
        let key = app.key_with(json!({"limits": [extra]})).await;
        let body = json!({"api_key_id": key.id, "endpoint": "/", "method": "GET", "requests": 4});
        for _ in 0..5 {
            let preview = app.admin.post(&format!("{LIMITS}/preview"), &body).await.expect(200);
            assert!(preview.text.contains("\"plan\"") && preview.text.contains("\"key\""), "{}", preview.text);
            assert_eq!(preview.data()["allowed"], false, "{}", preview.text);
        }
        assert_eq!(app.validate(&key).await.expect(200).body["remaining"], 2);
    })
    .await;
}

#[tokio::test]
async fn a_client_sees_where_its_own_key_stands() {
    on_every_stack(async |app| {
        let (key, other) = (app.key("free").await, app.key("free").await);
        app.validate_with(&key, json!({"requests": 30})).await.expect(200);
        let own = app.holder(&key).get(&format!("{LIMITS}/info")).await.expect(200);
        let by_id = app.admin.get(&format!("{LIMITS}/{}/info", key.id)).await.expect(200);
        for info in [own.data(), by_id.data()] {
            assert_eq!(
                (&info["limit"], &info["remaining"], &info["used"]),
                (&json!(100), &json!(70), &json!(30)),
                "{info}"
            );
            assert_eq!(
                (&info["tier"], &info["status"], &info["window"]),
                (&json!("free"), &json!("active"), &json!(3600))
            );
            assert_eq!(info["recent_violations"], 0);
        }
        assert_eq!(own.header("x-ratelimit-remaining"), "70");
        app.holder(&key).get(&format!("{LIMITS}/{}/info", other.id)).await.expect_problem(404, "NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn a_reset_starts_the_counters_anew_and_keeps_the_bill() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let body = |member: &str, value: &str| json!({member: value});
        let by_path = format!("{LIMITS}/{}/reset", key.id);
        let resets = [
            (format!("{LIMITS}/reset"), body("api_key", &key.secret)),
            (format!("{LIMITS}/reset"), body("api_key_id", &key.id)),
            (by_path, json!({})),
        ];
        for (path, body) in resets {
            app.exhaust(&key).await;
            let reset = app.admin.post(&path, &body).await.expect(200);
            assert_eq!((&reset.data()["remaining"], &reset.data()["used"]), (&json!(100), &json!(0)), "{}", reset.text);
            assert_eq!(app.validate(&key).await.expect(200).body["remaining"], 99);
            app.admin.post(&format!("{LIMITS}/{}/reset", key.id), &json!({})).await.expect(200);
        }
        app.used_becomes(&key, 303).await;
    })
    .await;
}

#[tokio::test]
async fn a_raised_limit_helps_at_once_and_counters_are_kept() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.exhaust(&key).await;
        let path = format!("{LIMITS}/{}", key.id);
        app.admin.put(&path, &json!({"new_limit": 150})).await.expect(200);
        let raised = app.validate(&key).await.expect(200);
        assert_eq!((&raised.body["limit"], &raised.body["remaining"]), (&json!(150), &json!(49)));
        app.admin.put(&path, &json!({"new_limit": 50})).await.expect(200);
        app.validate(&key).await.expect(429);
        let wrong =
            app.admin.put(&path, &json!({"new_limit": 0, "window": 0})).await.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(wrong.pointers(), ["/new_limit", "/window"]);
    })
    .await;
}

#[tokio::test]
async fn a_changed_size_says_what_belongs_to_it() {
    on_every_stack(async |app| {
        let bucket = json!({"name": "per-hour", "algorithm": "token_bucket", "limit": 60, "window": 60, "burst": 5});
        let plain = json!({"name": "per-hour", "algorithm": "token_bucket", "limit": 60, "window": 60});
        let day = json!({"name": "per-hour", "algorithm": "fixed_window", "limit": 5, "calendar": {"unit": "day"}});
        let window = json!({"name": "per-hour", "algorithm": "fixed_window", "limit": 5, "window": 60});
        let change = async |limit: &serde_json::Value, body: serde_json::Value| {
            let key = app.key_with(json!({"limits": [limit]})).await;
            let answer = app.admin.put(&format!("{LIMITS}/{}", key.id), &body).await;
            (
                answer,
                app.admin.get(&format!("/api/v1/api-keys/{}", key.id)).await.expect(200).data()["limits"][0].clone(),
            )
        };
        for (limit, body, pointers) in [
            (&bucket, json!({"new_limit": 100}), vec!["/burst"]),
            (&bucket, json!({"new_limit": 100, "burst": 0}), vec!["/burst"]),
            (&bucket, json!({"new_limit": 1, "burst": 1_000_000_000, "window": 31_622_400}), vec!["/burst"]),
            (&day, json!({"new_limit": 100, "window": 86_400}), vec!["/window"]),
            (&day, json!({"new_limit": 0, "window": 60}), vec!["/new_limit", "/window"]),
            (&window, json!({"new_limit": 100, "burst": 5}), vec!["/burst"]),
            (&window, json!({"new_limit": 100, "window": 0}), vec!["/window"]),
        ] {
            let (refused, stays) = change(limit, body.clone()).await;
            let refused = refused.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), pointers, "{body}: {}", refused.text);
            assert_eq!((&stays["limit"], &stays["burst"]), (&limit["limit"], &limit["burst"]), "{stays}");
        }
        let (changed, now) = change(&bucket, json!({"new_limit": 100, "burst": 9})).await;
        changed.expect(200);
        assert_eq!((&now["limit"], &now["burst"], &now["window"]), (&json!(100), &json!(9), &json!(60)));
        let (changed, now) = change(&plain, json!({"new_limit": 100})).await;
        changed.expect(200);
        assert_eq!(
            (&now["limit"], now.get("burst").filter(|b| !b.is_null())),
            (&json!(100), None),
            "it has as much as flows in"
        );
        let (changed, now) = change(&plain, json!({"new_limit": 100, "burst": 7})).await;
        changed.expect(200);
        assert_eq!(now["burst"], 7);
        let (changed, now) = change(&day, json!({"new_limit": 100})).await;
        changed.expect(200);
        assert_eq!((&now["limit"], &now["calendar"]["unit"]), (&json!(100), &json!("day")));
    })
    .await;
}

/// The hot path writes its body by hand, a batch has it serialized from what the OpenAPI document describes.
#[tokio::test]
async fn a_check_says_the_same_by_every_way_it_is_asked() {
    on_every_stack(async |app| {
        let limits = json!([{"name": "own", "limit": 2, "window": 60}, {"name": "day", "limit": 90, "window": 86_400}]);
        let name = "quotes \" and \\ and \u{1F600}";
        let key = app.key_with(json!({"name": name, "owner_id": "a\"b", "limits": limits})).await;
        let blocked = app.key_with(json!({"limits": [{"name": "per-hour", "limit": 1, "window": 3_600}]})).await;
        let post = async |route: &str, body| app.admin.post(&format!("{LIMITS}/{route}"), &body).await;
        for (key, requests) in [(&key, 0), (&key, 2), (&key, 3), (&blocked, 5)] {
            let check = json!({"api_key_id": key.id, "requests": requests});
            let one = post("check", check.clone()).await;
            let looked = json!({"api_key_id": key.id, "requests": if one.status == 200 { 0 } else { requests }});
            let (one, many) = match one.status {
                200 => (post("check", looked.clone()).await, post("check-batch", json!({"checks": [looked]})).await),
                _ => (one, post("check-batch", json!({"checks": [looked]})).await),
            };
            let mut serialized = many.data()[0].clone();
            if one.status == 429 {
                assert_eq!(serialized["instance"], many.header("x-request-id"));
                serialized["instance"] = one.header("x-request-id").into();
            }
            assert_eq!(one.body, serialized, "{}", one.text);
        }
    })
    .await;
}

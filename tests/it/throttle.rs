//! Plans with `overage: throttle`: within the quota nothing changes, and beyond it checks pass slowly and cost nothing.

use serde_json::{Value, json};
use tollgate_tests::{
    answer::Answer,
    app::{App, Key, USAGE_WITHIN, on_every_stack},
    wait::within_promise,
};

/// A key with ten units a month, and four a minute beyond them; it shares a limit with its owner's other keys.
async fn throttled(app: &App) -> Key {
    let hour = json!({"name": "per-hour", "limit": 1_000, "window": 3_600});
    let team = json!({"name": "team", "limit": 500, "window": 3_600, "per": "owner"});
    let quota = json!({"limit": 10, "overage": "throttle", "throttle": {"limit": 4, "window": 60}});
    assert_eq!(app.plan("throttled", json!([hour, team]), quota.clone()).await["quota"], quota);
    app.key_with(json!({"tier": "throttled", "owner_id": "acme"})).await
}

/// The limits of an answer's body; its headers must tell of the same ones.
fn limits(answer: &Answer) -> Vec<String> {
    let names = names(&answer.body["limits"]);
    let of_header = |name: &str| -> Vec<String> {
        let items = answer.header(name).split(", ").filter_map(|item| item.split('"').nth(1));
        items.map(str::to_owned).collect()
    };
    assert_eq!((of_header("ratelimit"), of_header("ratelimit-policy")), (names.clone(), names.clone()));
    names
}

fn names(limits: &Value) -> Vec<String> {
    limits.as_array().unwrap().iter().map(|limit| limit["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn beyond_its_quota_a_throttled_key_is_slow_and_pays_nothing_more() {
    on_every_stack(async |app| {
        let key = throttled(app).await;
        let within = app.validate_with(&key, json!({"requests": 9})).await.expect(200);
        assert_eq!(limits(&within), ["per-hour", "team"]);
        assert_eq!((&within.body["limit"], &within.body["remaining"]), (&json!(500), &json!(491)));
        assert_eq!(app.admitted(&key, 20).await, 5, "the last of the quota, and four beyond it");
        let refused = app.validate(&key).await.expect_problem(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(refused.body["violated-policies"], json!(["overage"]));
        assert_eq!(limits(&refused), ["per-hour", "team", "overage"]);
        assert!(refused.header("ratelimit-policy").ends_with("\"overage\";q=4;w=60"), "{:?}", refused.headers);
        let left = |index: usize| refused.body["limits"][index]["remaining"].as_u64().unwrap();
        assert_eq!([left(0), left(1), left(2)], [1_000 - 14, 500 - 14, 0]);
        assert_eq!((&refused.body["limit"], &refused.body["remaining"]), (&json!(4), &json!(0)));
        assert_eq!((&refused.body["quota"]["used"], &refused.body["quota"]["remaining"]), (&json!(14), &json!(0)));
        app.advance(refused.retry_after() - 1);
        assert_eq!(app.validate(&key).await.expect(429).retry_after(), 1);
        app.advance(1);
        assert_eq!(limits(&app.validate(&key).await.expect(200)), ["per-hour", "team", "overage"]);

        let current = app.usage_becomes(&key, 15, 17).await;
        assert_eq!(current["estimated_cost"], "10.00", "the base");
        let path = format!("/api/v1/rate-limit/{}/violations", key.id);
        within_promise("the refusals are seen", USAGE_WITHIN, async || {
            let rows = app.admin.get(&path).await.expect(200).body["data"].clone();
            let rows = rows.as_array().unwrap();
            assert!(rows.iter().all(|row| row["limit_name"] == "overage"), "{rows:?}");
            (rows.iter().map(|row| row["count"].as_u64().unwrap()).sum::<u64>() == 17).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_new_month_ends_the_slowness() {
    on_every_stack(async |app| {
        let key = throttled(app).await;
        app.validate_with(&key, json!({"requests": 10})).await.expect(200);
        app.validate_with(&key, json!({"requests": 4})).await.expect(200);
        let never = app.validate_with(&key, json!({"requests": 5})).await.expect(429);
        app.advance(never.retry_after() - 1);
        app.validate_with(&key, json!({"requests": 5})).await.expect(429);
        app.advance(1);
        assert_eq!(app.clock.now().to_rfc3339(), "2031-06-01T00:00:00+00:00");
        let first = app.validate_with(&key, json!({"requests": 5})).await.expect(200);
        assert_eq!(
            (limits(&first), &first.body["quota"]["used"]),
            (vec!["per-hour".to_owned(), "team".to_owned()], &json!(5))
        );
    })
    .await;
}

#[tokio::test]
async fn a_preview_tells_whether_a_cost_is_beyond_the_quota() {
    on_every_stack(async |app| {
        let key = throttled(app).await;
        app.validate_with(&key, json!({"requests": 8})).await.expect(200);
        let (usual, both) = (["per-hour", "team"].as_slice(), ["per-hour", "team", "overage"].as_slice());
        for (requests, allowed, shown) in [(2, true, usual), (3, true, both), (5, false, both)] {
            let body = json!({"api_key_id": key.id, "requests": requests});
            let preview = app.admin.post("/api/v1/rate-limit/preview", &body).await.expect(200).data().clone();
            assert_eq!(preview["allowed"], json!(allowed));
            assert_eq!(names(&preview["limits"]), shown);
            for limit in preview["limits"].as_array().unwrap() {
                assert_eq!(limit["origin"], "plan");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn names_of_answers_are_no_names_of_limits() {
    on_every_stack(async |app| {
        for name in ["quota", "overage", "spend-cap"] {
            let limits = json!([{"name": name, "limit": 5, "window": 60}]);
            let plan = json!({"name": "x", "limits": limits, "prices": {"currency": "USD", "base": "1.00", "unit_amount": "0"}});
            let refused = app.admin.post("/api/v1/plans", &plan).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), ["/limits/0/name"]);
            let key = json!({"name": "x", "tier": "free", "limits": limits});
            let refused = app.admin.post("/api/v1/api-keys", &key).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), ["/limits/0/name"]);
        }
    })
    .await;
}

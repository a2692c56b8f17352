//! `/api/v1/plans`: what a tier of keys may do and what it costs.

use serde_json::json;
use tollgate_tests::app::on_every_stack;

const PLANS: &str = "/api/v1/plans";

#[tokio::test]
async fn a_fresh_installation_has_four_plans() {
    on_every_stack(async |app| {
        let list = app.admin.get(PLANS).await.expect(200);
        let mut plans: Vec<_> = list.data().as_array().unwrap().clone();
        plans.sort_by_key(|plan| plan["limits"][0]["limit"].as_u64());
        let row = |plan: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.to_string().replace('"', "");
            [&plan["name"], &plan["limits"][0]["limit"], &plan["quota"]["limit"], &plan["quota"]["overage"]]
                .map(text)
                .join(" ")
        };
        let rows: Vec<_> = plans.iter().map(row).collect();
        assert_eq!(
            rows,
            [
                "free 100 10000 block",
                "standard 1000 100000 bill",
                "pro 10000 1000000 bill",
                "enterprise 100000 10000000 bill"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_changed_plan_is_in_force_for_its_keys() {
    on_every_stack(async |app| {
        let hour = |limit: u64| json!([{"name": "per-hour", "limit": limit, "window": 3600}]);
        let quota = json!({"limit": 1_000, "overage": "block"});
        let plan = app.plan("silver", hour(5), quota.clone()).await;
        let key = app.key("silver").await;
        app.exhaust(&key).await;
        let path = format!("{PLANS}/{}", plan["id"].as_str().unwrap());
        let mut terms = json!({"limits": hour(8), "quota": quota, "prices": plan["prices"]});
        let changed = app.admin.put(&path, &terms).await.expect(200);
        assert_eq!((&changed.data()["version"], &changed.data()["name"]), (&json!(2), &json!("silver")));
        assert_eq!(app.admitted(&key, 5).await, 3);
        terms["limits"] = json!([]);
        assert_eq!(app.admin.put(&path, &terms).await.expect_problem(422, "INVALID_REQUEST").pointers(), ["/limits"]);
        assert_eq!(app.admin.get(&path).await.expect(200).data()["limits"][0]["limit"], 8);
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_keys_are_on_stays() {
    on_every_stack(async |app| {
        let plan = app.plan("gold", json!([{"name": "per-hour", "limit": 5, "window": 60}]), json!(null)).await;
        let path = format!("{PLANS}/{}", plan["id"].as_str().unwrap());
        let again = json!({"name": "gold", "limits": plan["limits"], "prices": plan["prices"]});
        app.admin.post(PLANS, &again).await.expect_problem(409, "CONFLICT");
        let key = app.key("gold").await;
        app.admin.delete(&path).await.expect_problem(409, "CONFLICT");
        app.admin.delete(&format!("/api/v1/api-keys/{}", key.id)).await.expect(204);
        app.admin.delete(&path).await.expect(204);
        app.admin.get(&path).await.expect_problem(404, "NOT_FOUND");
        let no_tier = app.admin.post("/api/v1/api-keys", &json!({"name": "x", "tier": "gold"})).await;
        assert_eq!(no_tier.expect_problem(422, "INVALID_REQUEST").pointers(), ["/tier"]);
    })
    .await;
}

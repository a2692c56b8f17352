//! What units would cost.

use serde_json::{Value, json};
use tollgate_tests::app::{App, on_every_stack};

const PREVIEW: &str = "/api/v1/billing/preview";

async fn preview(app: &App, body: Value) -> Value {
    app.admin.post(PREVIEW, &body).await.expect(200).data().clone()
}

/// Members of an answer as one text.
fn members(of: &Value, members: &[&str]) -> String {
    members.iter().map(|member| of[*member].to_string().replace('"', "")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_period_of_two_plans_is_priced_by_its_segments() {
    on_every_stack(async |app| {
        let change = "2026-11-16T00:00:00Z";
        let segments = json!([
            {"end": change, "plan": "standard", "units": 80_000}, {"start": change, "plan": "pro", "units": 600_000}]);
        let bill = preview(app, json!({"segments": segments, "period": "2026-11"})).await;
        let shown = ["position", "kind", "tier_name", "quantity", "unit_amount", "amount"];
        let lines = bill["lines"].as_array().unwrap().iter();
        let lines: Vec<_> =
            lines.map(|line| format!("{} {}", members(line, &shown), members(&line["segment"], &["share"]))).collect();
        assert_eq!(
            lines,
            [
                "1 base standard 1 29.00 14.50 1/2",
                "2 usage standard 30000 0.0005 15.00 1/2",
                "3 base pro 1 199.00 99.50 1/2",
                "4 usage pro 100000 0.00025 25.00 1/2",
            ]
        );
        let shown = ["units", "overage_units", "subtotal", "rounding", "total", "amount_due", "amount_due_minor"];
        assert_eq!(members(&bill, &shown), "680000 130000 154.00 0.00 154.00 154.00 15400");
    })
    .await;
}

#[tokio::test]
async fn amounts_have_the_places_of_their_currency() {
    on_every_stack(async |app| {
        for (currency, shown) in [
            ("JPY", "1000.5015 0.4985 1001 1001"),
            ("USD", "1000.5015 -0.0015 1000.50 100050"),
            ("KWD", "1000.5015 0.0005 1000.502 1000502"),
        ] {
            let prices = json!({"currency": currency, "base": "1000.5", "included_units": 0, "unit_amount": "0.0005"});
            let bill = preview(app, json!({"plan": {"prices": prices}, "units": 3})).await;
            assert_eq!(members(&bill, &["total", "rounding", "amount_due", "amount_due_minor"]), shown);
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_priced_is_named() {
    on_every_stack(async |app| {
        let prices = |more: Value| {
            let mut prices = json!({"currency": "USD", "base": "1.00"});
            prices.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"plan": {"prices": prices}, "units": 1})
        };
        let tiers = |bounds: &[Option<u64>]| -> Value {
            bounds.iter().map(|bound| json!({"up_to": bound, "unit_amount": "1"})).collect()
        };
        let two = json!([{"plan": "standard", "units": 1}, {"plan": "pro", "units": 1}]);
        for (body, pointers) in [
            (json!({}), vec!["/plan"]),
            (json!({"plan": "standard"}), vec!["/units"]),
            (json!({"plan": "no-such", "units": 1}), vec!["/plan"]),
            (json!({"plan": "standard", "units": 1, "period": "2026-13"}), vec!["/period"]),
            (json!({"plan": "standard", "units": 1, "currency": "EUR"}), vec!["/plan"]),
            (json!({"segments": two}), vec!["/segments/1/start"]),
            (prices(json!({})), vec!["/plan/prices/unit_amount"]),
            (
                prices(json!({"unit_amount": "1", "tiers": tiers(&[None]), "package_size": 5})),
                vec!["/plan/prices/package_size", "/plan/prices/tiers"],
            ),
            (prices(json!({"model": "package"})), vec!["/plan/prices/package_amount", "/plan/prices/package_size"]),
            (
                prices(json!({"model": "volume", "tiers": tiers(&[Some(5), Some(5)])})),
                vec!["/plan/prices/tiers/1/up_to"],
            ),
            (
                prices(json!({"model": "graduated", "tiers": tiers(&[Some(5), Some(4), None])})),
                vec!["/plan/prices/tiers/1/up_to"],
            ),
            (prices(json!({"unit_amount": "1", "maximum": "0.50"})), vec!["/plan/prices/maximum"]),
            (prices(json!({"unit_amount": "-1"})), vec!["/plan/prices/unit_amount"]),
        ] {
            let refused = app.admin.post(PREVIEW, &body).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), pointers, "{body}");
        }
        let much = json!({"currency": "USD", "base": "0", "included_units": 0, "unit_amount": "999999999999"});
        let body = json!({"plan": {"prices": much}, "units": 1_000_000_000});
        app.admin.post(PREVIEW, &body).await.expect_problem(422, "INVALID_REQUEST");
    })
    .await;
}

//! Credits pay records when a month is closed.

use serde_json::{Value, json};
use tollgate_tests::app::{App, on_every_stack};

use super::records::{go_to, members, newest};

const GRANTS: &str = "/api/v1/credits/grants";

async fn grant(app: &App, body: Value) -> Value {
    app.admin.post(GRANTS, &body).await.expect(201).data().clone()
}

async fn shown(app: &App, grant: &Value) -> Value {
    app.admin.get(&format!("{GRANTS}/{}", grant["id"].as_str().unwrap())).await.expect(200).data().clone()
}

async fn balance(app: &App, owner: &str) -> Value {
    app.admin.get(&format!("/api/v1/credits/balance?owner_id={owner}")).await.expect(200).data().clone()
}

#[tokio::test]
async fn grants_pay_in_their_order_and_what_is_left_stays() {
    on_every_stack(async |app| {
        let key = app.key_with(json!({"tier": "standard", "owner_id": "acme"})).await;
        let grant = async |amount: &str, priority: u32| {
            grant(app, json!({"owner_id": "acme", "amount": amount, "currency": "USD", "priority": priority})).await
        };
        let (later, first) = (grant("100.00", 50).await, grant("10.00", 1).await);
        let before = balance(app, "acme").await;
        assert_eq!(members(&before, &["currency", "available", "estimated_after_current_period"]), "USD 110.00 81.00");
        go_to(app, "2031-06-01T01:00:05Z");
        let record = newest(app, &key, 1).await;
        assert_eq!(
            members(&record, &["subtotal", "credits_applied", "total", "amount_due", "payment_status"]),
            "29.00 29.00 0.00 0.00 paid"
        );
        let credits: Vec<_> = record["lines"].as_array().unwrap().iter().skip(1).collect();
        let amounts: Vec<_> = credits.iter().map(|line| members(line, &["kind", "amount"])).collect();
        assert_eq!(amounts, ["credit -10.00", "credit -19.00"]);
        let (first, later) = (shown(app, &first).await, shown(app, &later).await);
        assert_eq!(members(&first, &["remaining", "status"]), "0.00 used");
        assert_eq!(members(&later, &["remaining", "status"]), "81.00 active");
        assert_eq!(later["applications"][0]["record_id"], record["id"]);
        assert_eq!(balance(app, "acme").await["available"], "81.00");
        // A record that is taken back gives its credits back.
        let path = format!("/api/v1/billing/records/{}/void", record["id"].as_str().unwrap());
        app.admin.post(&path, &json!({"reason": "no", "rebill": false})).await.expect(200);
        assert_eq!(balance(app, "acme").await["available"], "110.00");
        let path = format!("{GRANTS}/{}/void", later["id"].as_str().unwrap());
        assert_eq!(app.admin.post(&path, &json!({})).await.expect(200).data()["status"], "void");
        assert_eq!(balance(app, "acme").await["available"], "10.00");
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_cannot_be_is_named() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        for (body, pointer) in [
            (json!({"amount": "1.00", "currency": "USD"}), "/owner_id"),
            (json!({"owner_id": "a", "api_key_id": key.id, "amount": "1.00", "currency": "USD"}), "/owner_id"),
            (json!({"owner_id": "a", "amount": "0.00", "currency": "USD"}), "/amount"),
            (json!({"owner_id": "a", "amount": "1.00", "currency": "XXX"}), "/currency"),
            (json!({"owner_id": "a", "amount": "1.00", "currency": "USD", "priority": 256}), "/priority"),
            (
                json!({"owner_id": "a", "amount": "1.00", "currency": "USD", "expires_at": "2031-01-01T00:00:00Z"}),
                "/expires_at",
            ),
            (
                json!({"api_key_id": "01a20a9e-85ea-7c36-a9d2-d95b58943f68", "amount": "1.00", "currency": "USD"}),
                "/api_key_id",
            ),
        ] {
            let refused = app.admin.post(GRANTS, &body).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), [pointer], "{body}");
        }
        grant(app, json!({"owner_id": "two", "amount": "1.00", "currency": "USD"})).await;
        grant(app, json!({"owner_id": "two", "amount": "2.00", "currency": "EUR"})).await;
        let path = "/api/v1/credits/balance?owner_id=two";
        app.admin.get(path).await.expect_problem(400, "INVALID_REQUEST");
        let euros = app.admin.get(&format!("{path}&currency=EUR")).await.expect(200).data().clone();
        assert_eq!(euros["available"], "2.00");
    })
    .await;
}

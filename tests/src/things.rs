//! One of each thing that a path can name, for stories that call every route.

use serde_json::{Value, json};
use tollgate_domain::{BillingPeriod, TenantId};

use crate::app::{App, Key};

/// One of each thing that a path of the API can name.
pub struct Things {
    /// On the plan `pro`.
    pub key: Key,
    /// That nobody is on.
    pub plan: Value,
    /// That may do everything.
    pub token: Value,
    /// Of the key's present month, closed before its end.
    pub record: Value,
    /// To an owner.
    pub grant: Value,
    /// Of a number that was changed by hand and is right again.
    pub finding: Value,
}

impl Things {
    /// An operation's path with the id of a thing of the kind that it takes.
    pub fn path(&self, path: &str) -> String {
        let id = match path {
            _ if path.starts_with("/api/v1/plans") => &self.plan["id"],
            _ if path.starts_with("/api/v1/tokens") => &self.token["id"],
            _ if path.starts_with("/api/v1/billing/records") => &self.record["id"],
            _ if path.starts_with("/api/v1/billing/reconciliation") => &self.finding["id"],
            _ if path.starts_with("/api/v1/credits/grants") => &self.grant["id"],
            _ => &self.key.record["id"],
        };
        path.replace("{id}", id.as_str().expect("an id"))
    }

    /// That, and the query that the operation cannot do without.
    pub fn uri(&self, path: &str) -> String {
        let query = if path == "/api/v1/credits/balance" { "?owner_id=acme" } else { "" };
        self.path(path) + query
    }
}

impl App {
    /// One of each thing that a path can name.
    pub async fn things(&self) -> Things {
        let name = format!("p{}", self.clock.new_id().simple());
        let plan = self.plan(&name, json!([{"name": "per-hour", "limit": 5, "window": 60}]), json!(null)).await;
        let (_, token) = self.token_with(json!({})).await;
        let key = self.key("pro").await;
        let of = (TenantId::DEFAULT, key.id.parse().expect("an id"));
        let period = BillingPeriod::containing(self.clock.now());
        self.service.billing().close_keys(&[of], period).await.expect("the key can be billed");
        let records = format!("/api/v1/billing/records?api_key_id={}", key.id);
        let record = self.admin.get(&records).await.expect(200).data()[0].clone();
        let grant = json!({"owner_id": "acme", "amount": "1.00", "currency": "USD"});
        let grant = self.admin.post("/api/v1/credits/grants", &grant).await.expect(201).data().clone();
        Things { key, plan, token, record, grant, finding: self.finding().await }
    }

    async fn finding(&self) -> Value {
        for text in ["update journal_baseline set units = units + 1", "update journal_baseline set units = units - 1"] {
            self.sql(text).await.expect("the table is there");
            self.service.billing().reconcile().await.expect("a reconciliation");
        }
        let findings = self.admin.get("/api/v1/billing/reconciliation").await.expect(200);
        findings.data()[0].clone()
    }
}

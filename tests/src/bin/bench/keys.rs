//! The keys that a benchmark checks, and the plans that they are on.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tollgate_domain::{Clock, Environment, secret::KeySecret};
use tollgate_tests::answer::{Answer, Client};
use uuid::Uuid;

/// A plan that refuses nothing within a benchmark: its keys are far from their limit.
pub(crate) const FAR: &str = "bench";
/// The same without a quota: a check is one limit, as the baseline's is.
pub(crate) const PLAIN: &str = "bench-plain";
/// A plan whose keys are over their limit from the second check on.
pub(crate) const OVER: &str = "bench-one";
/// Keys copied in one statement.
const BATCH: usize = 10_000;

/// Makes the plans.
pub(crate) async fn plans(admin: &Client) {
    let quota = json!({"limit": 1_000_000_000_000_u64, "overage": "bill"});
    let plans = [
        (FAR, 1_000_000_000_u64, 3_600, &quota),
        (PLAIN, 1_000_000_000, 3_600, &Value::Null),
        (OVER, 1, 30 * 86_400, &quota),
    ];
    for (name, limit, window, quota) in plans {
        let plan = json!({
            "name": name,
            "limits": [{"name": "per-window", "limit": limit, "window": window}],
            "quota": quota,
            "prices": {"currency": "USD", "base": "0", "overage_unit": "0"},
        });
        admin.post("/api/v1/plans", &plan).await.expect(201);
    }
}

/// `count` keys on a plan, through the API.
pub(crate) async fn create(admin: &Client, plan: &str, count: usize) -> Vec<String> {
    let mut keys = Vec::with_capacity(count);
    for number in 0..count {
        keys.push(secret(&one(admin, plan, number).await));
    }
    keys
}

/// As [`create`] for very many keys on PostgreSQL, where the API would take minutes: it makes one, whose rows are copied.
pub(crate) async fn copy(admin: &Client, database: &str, plan: &str, count: usize) -> Vec<String> {
    let first = one(admin, plan, 0).await;
    let id: Uuid = first.data()["id"].as_str().and_then(|id| id.parse().ok()).expect("a new key's id");
    let mut database = PgConnection::connect(database).await.expect("PostgreSQL answers");
    let mut keys = vec![secret(&first)];
    while keys.len() < count {
        let secrets: Vec<_> = (keys.len()..count.min(keys.len() + BATCH))
            .map(|_| KeySecret::generate(Environment::Live).expect("random bytes"))
            .collect();
        insert(&mut database, id, &secrets).await.expect("copies of a key's rows");
        keys.extend(secrets.iter().map(|secret| secret.expose().to_owned()));
    }
    // Not of every table: one that is empty now would be taken for empty when it has a row for each key.
    let statistics = sqlx::raw_sql("vacuum analyze api_keys, api_key_secrets").execute(&mut database).await;
    statistics.expect("statistics of the new rows");
    keys
}

async fn insert(database: &mut PgConnection, id: Uuid, secrets: &[KeySecret]) -> Result<(), sqlx::Error> {
    let ids: Vec<_> = secrets.iter().map(|_| Clock::System.new_id()).collect();
    let hashes: Vec<_> = secrets.iter().map(|secret| secret.hash().0.to_vec()).collect();
    sqlx::query(
        "insert into api_keys
         select copy.* from api_keys k, unnest($1::uuid[]) as new (id),
             lateral jsonb_populate_record(k, jsonb_build_object('id', new.id)) as copy
         where k.id = $2",
    )
    .bind(&ids)
    .bind(id)
    .execute(&mut *database)
    .await?;
    sqlx::query(
        "insert into api_key_secrets (hash, tenant_id, api_key_id)
         select new.hash, k.tenant_id, new.id from api_keys k, unnest($1::uuid[], $2::bytea[]) as new (id, hash)
         where k.id = $3",
    )
    .bind(&ids)
    .bind(&hashes)
    .bind(id)
    .execute(&mut *database)
    .await?;
    Ok(())
}

async fn one(admin: &Client, plan: &str, number: usize) -> Answer {
    admin.post("/api/v1/api-keys", &json!({"name": format!("bench {number}"), "tier": plan})).await.expect(201)
}

fn secret(answer: &Answer) -> String {
    answer.data()["key"].as_str().expect("a new key's secret").to_owned()
}

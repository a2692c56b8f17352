//! The keys that a benchmark checks, and the plans that they are on.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};
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

/// As [`create`] for very many keys, where the API would take minutes: it makes one, whose rows are copied.
pub(crate) async fn copy(admin: &Client, database: &str, plan: &str, count: usize) -> Vec<String> {
    let first = one(admin, plan, 0).await;
    let id: Uuid = first.data()["id"].as_str().and_then(|id| id.parse().ok()).expect("a new key's id");
    let secrets: Vec<_> = (1..count).map(|_| KeySecret::generate(Environment::Live).expect("random bytes")).collect();
    if database.starts_with("sqlite:") {
        copy_in_sqlite(database, id, &secrets).await.expect("copies of a key's rows");
    } else {
        copy_in_postgres(database, id, &secrets).await.expect("copies of a key's rows");
    }
    std::iter::once(secret(&first)).chain(secrets.iter().map(|secret| secret.expose().to_owned())).collect()
}

async fn copy_in_sqlite(database: &str, id: Uuid, secrets: &[KeySecret]) -> Result<(), sqlx::Error> {
    let mut database = SqliteConnection::connect(database).await?;
    let columns: Vec<String> =
        sqlx::query_scalar("select name from pragma_table_info('api_keys')").fetch_all(&mut database).await?;
    let copied = columns.iter().map(|name| if name == "id" { "$1" } else { name }).collect::<Vec<_>>().join(", ");
    // By the whole primary key: by its id alone, each copy would read all that were made before it.
    let key = format!(
        "insert into api_keys ({}) select {copied} from api_keys where tenant_id = $2 and id = $3",
        columns.join(", ")
    );
    let key: &'static str = key.leak();
    let hash = "insert into api_key_secrets (hash, tenant_id, api_key_id) values ($1, $2, $3)";
    let tenant: Uuid =
        sqlx::query_scalar("select tenant_id from api_keys where id = $1").bind(id).fetch_one(&mut database).await?;
    for batch in secrets.chunks(BATCH) {
        let mut tx = database.begin_with("begin immediate").await?;
        for secret in batch {
            let new = Clock::System.new_id();
            sqlx::query(key).bind(new).bind(tenant).bind(id).execute(&mut *tx).await?;
            sqlx::query(hash).bind(secret.hash().0.to_vec()).bind(tenant).bind(new).execute(&mut *tx).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

async fn copy_in_postgres(database: &str, id: Uuid, secrets: &[KeySecret]) -> Result<(), sqlx::Error> {
    let mut database = PgConnection::connect(database).await?;
    for batch in secrets.chunks(BATCH) {
        insert(&mut database, id, batch).await?;
    }
    // Not of every table: one that is empty now would be taken for empty when it has a row for each key.
    sqlx::raw_sql("vacuum analyze api_keys, api_key_secrets").execute(&mut database).await.map(|_| ())
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

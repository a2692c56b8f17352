//! API keys: reads one by id, and makes every write except rotation. A deleted key stays hidden in its table.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{
    ApiKey, ApiKeyId, BillingPeriod, KeyStatus, Money, Plan, SecretHash, TenantId, period::next_minute,
};
use uuid::Uuid;

use super::{
    Keys,
    row::{BY_ID, KeyRow, get, search_text, status},
};
use crate::{
    Error, billing,
    core::{database::Tx, json, revisions, time::micros},
    keys::secrets,
    plans,
    prices::spans,
};

/// The number of keys of a plan and status, over all tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCount {
    /// The plan's slug.
    pub tier: String,
    /// The stored status: a key past its `expires_at` still counts under its former one.
    pub status: KeyStatus,
    /// Keys that are not deleted.
    pub count: i64,
}

impl Keys<'_> {
    /// A key by its id. From the primary, so that a client sees its own write.
    pub async fn get(self, tenant_id: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>, Error> {
        let row: Option<KeyRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(BY_ID).bind(tenant_id.0).bind(id.0).fetch_optional(pool).await)
            })
            .await?;
        row.map(ApiKey::try_from).transpose()
    }

    /// Inserts a key. [`Error::Conflict`] when the id or the secret exists, or no plan has the name in `tier`.
    pub async fn insert(self, tenant_id: TenantId, key: &ApiKey, hash: &SecretHash) -> Result<ApiKey, Error> {
        let values = &Values::of(key)?;
        self.0
            .write_in_turn(|| async {
                let mut tx = self.0.begin().await?;
                let revision = revisions::next(&mut tx).await?;
                let plan = plans::named(&mut tx, tenant_id, &key.tier).await?.ok_or(Error::Conflict)?;
                insert(&mut tx, tenant_id, key, values, plan.id.0, revision).await?;
                insert_tags(&mut tx, tenant_id, key).await?;
                secrets::insert(&mut tx, tenant_id, key.id, hash).await?;
                spans::begin(&mut tx, tenant_id, key, plan.id).await?;
                let stored = get(&mut tx, tenant_id, key.id).await?.ok_or(Error::Conflict)?;
                tx.commit().await?;
                Ok(stored)
            })
            .await
    }

    /// Changes the key as it stands. `change` gets it with the plan that `tier` names, or the one it is on, inside the
    /// transaction; no other write to a key or plan comes between, so none is lost and none is refused because of another.
    /// What cannot be changed (environment, prefix, age) is not stored; the version is counted up. Another plan's prices are in
    /// force from the next whole minute after `updated_at`.
    ///
    /// None when there is no such key, [`Error::Conflict`] when `change` accepts a plan that does not exist.
    pub async fn change<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        tier: Option<&str>,
        change: impl Fn(&mut ApiKey, Option<&Plan>) -> Result<(), E>,
    ) -> Result<Option<(ApiKey, Plan)>, E> {
        let changed = self.0.write_in_turn(|| async {
            let mut tx = self.0.begin().await?;
            let revision = revisions::next(&mut tx).await?;
            let Some(mut key) = get(&mut tx, tenant_id, id).await? else { return Ok(Ok(None)) };
            let tier_before = key.tier.clone();
            let plan = plans::named(&mut tx, tenant_id, tier.unwrap_or(&tier_before)).await?;
            if let Err(refused) = change(&mut key, plan.as_ref()) {
                return Ok(Err(refused));
            }
            let plan = plan.ok_or(Error::Conflict)?;
            update(&mut tx, tenant_id, &key, plan.id.0, revision).await?;
            if plan.name != tier_before {
                let before = plans::named(&mut tx, tenant_id, &tier_before).await?;
                let stays = before.is_none_or(|before| before.prices.currency == plan.prices.currency);
                if !stays && !owes_nothing(&mut tx, tenant_id, id, key.updated_at).await? {
                    return Err(Error::CurrencyMismatch);
                }
                spans::change(&mut tx, tenant_id, id, plan.id, next_minute(key.updated_at)).await?;
            }
            if key.status == KeyStatus::Revoked {
                spans::end(&mut tx, tenant_id, id, key.updated_at).await?;
            }
            delete_tags(&mut tx, tenant_id, id).await?;
            insert_tags(&mut tx, tenant_id, &key).await?;
            let stored = get(&mut tx, tenant_id, id).await?;
            tx.commit().await?;
            Ok(Ok(stored.map(|key| (key, plan))))
        });
        changed.await?
    }

    /// Revokes and hides the key, and ends all its secrets, if `check` accepts the present key. Keeps its usage.
    /// False when there is no such key.
    pub async fn delete<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        now: DateTime<Utc>,
        check: impl Fn(&ApiKey) -> Result<(), E>,
    ) -> Result<bool, E> {
        let text = "
            update api_keys set status = 'revoked', deleted_at = $3, updated_at = $3, version = version + 1, revision = $4
            where tenant_id = $1 and id = $2 and deleted_at is null";
        let deleted = self.0.write_in_turn(|| async {
            let mut tx = self.0.begin().await?;
            let revision = revisions::next(&mut tx).await?;
            let Some(key) = get(&mut tx, tenant_id, id).await? else { return Ok(Ok(false)) };
            if let Err(refused) = check(&key) {
                return Ok(Err(refused));
            }
            on!(&mut tx, t => sqlx::query(text)
                .bind(tenant_id.0).bind(id.0).bind(micros(now)).bind(revision)
                .execute(&mut **t).await.map(|_| ()))?;
            delete_tags(&mut tx, tenant_id, id).await?;
            secrets::end_by(&mut tx, tenant_id, id, now).await?;
            spans::end(&mut tx, tenant_id, id, now).await?;
            tx.commit().await?;
            Ok(Ok(true))
        });
        deleted.await?
    }

    /// Number of keys by plan and stored status, of all tenants: for metrics. May lag; reads every key.
    pub async fn counts(self) -> Result<Vec<KeyCount>, Error> {
        let text = "
            select p.name, k.status, count(*)
            from api_keys k join plans p on p.tenant_id = k.tenant_id and p.id = k.plan_id
            where k.deleted_at is null group by p.name, k.status order by p.name, k.status";
        let rows: Vec<(String, String, i64)> = self
            .0
            .read_lagging(|db| async move { on!(&db, pool => sqlx::query_as(text).fetch_all(pool).await) })
            .await?;
        rows.into_iter().map(|(tier, stored, count)| Ok(KeyCount { tier, status: status(&stored)?, count })).collect()
    }
}

/// Whether the key's bill for the period that holds `now` is of no amount.
async fn owes_nothing(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId, now: DateTime<Utc>) -> Result<bool, Error> {
    let period = BillingPeriod::containing(now);
    let Some(usage) = billing::of_key(tx, tenant_id, id, period).await? else { return Ok(true) };
    let bill = usage.timeline.bill(period, usage.lifetime, &usage.units).map_err(|_| Error::CurrencyMismatch)?;
    Ok(bill.is_none_or(|bill| bill.amounts().all(|amount| amount == Money::ZERO)))
}

/// The columns that are derived from a key's fields.
struct Values {
    tags: Json<Value>,
    metadata: Json<Value>,
    allowed_ips: Json<Value>,
    allowed_countries: Json<Value>,
    limits: Json<Value>,
    suspended_until: Option<DateTime<Utc>>,
    suspension_reason: Option<String>,
    search: String,
}

impl Values {
    fn of(key: &ApiKey) -> Result<Self, Error> {
        let suspension = key.suspension.as_ref().filter(|_| key.status == KeyStatus::Suspended);
        Ok(Self {
            tags: json::items(&key.tags)?,
            metadata: Json(Value::Object(key.metadata.clone())),
            allowed_ips: json::items(&key.allowed_ips)?,
            allowed_countries: json::items(&key.allowed_countries)?,
            limits: json::items(&key.limits)?,
            suspended_until: suspension.and_then(|s| s.until).map(micros),
            suspension_reason: suspension.and_then(|s| s.reason.clone()),
            search: search_text(key, &key.key_prefix),
        })
    }
}

async fn insert(
    tx: &mut Tx,
    tenant_id: TenantId,
    key: &ApiKey,
    values: &Values,
    plan_id: Uuid,
    revision: i64,
) -> Result<(), Error> {
    let text = "
        insert into api_keys (tenant_id, id, plan_id, key_prefix, name, description, environment, status,
            suspended_until, suspension_reason, owner_id, tags, metadata, allowed_ips, allowed_countries, limits,
            search, expires_at, created_at, updated_at, deleted_at, version, revision, spend_cap)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, null, $21, $22, $23)";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(key.id.0).bind(plan_id).bind(&key.key_prefix).bind(&key.name).bind(&key.description)
        .bind(key.environment.as_str()).bind(key.status.as_str())
        .bind(values.suspended_until).bind(&values.suspension_reason).bind(&key.owner_id)
        .bind(&values.tags).bind(&values.metadata).bind(&values.allowed_ips).bind(&values.allowed_countries)
        .bind(&values.limits).bind(&values.search).bind(key.expires_at.map(micros))
        .bind(micros(key.created_at)).bind(micros(key.updated_at)).bind(key.version).bind(revision)
        .bind(key.spend_cap.map(|cap| cap.0))
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

async fn update(tx: &mut Tx, tenant_id: TenantId, key: &ApiKey, plan_id: Uuid, revision: i64) -> Result<(), Error> {
    let values = &Values::of(key)?;
    let text = "
        update api_keys set plan_id = $3, name = $4, description = $5, status = $6, suspended_until = $7,
            suspension_reason = $8, owner_id = $9, tags = $10, metadata = $11, allowed_ips = $12,
            allowed_countries = $13, limits = $14, search = $15, expires_at = $16, updated_at = $17,
            version = version + 1, revision = $18, spend_cap = $19
        where tenant_id = $1 and id = $2";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(key.id.0).bind(plan_id).bind(&key.name).bind(&key.description)
        .bind(key.status.as_str()).bind(values.suspended_until).bind(&values.suspension_reason).bind(&key.owner_id)
        .bind(&values.tags).bind(&values.metadata).bind(&values.allowed_ips).bind(&values.allowed_countries)
        .bind(&values.limits).bind(&values.search).bind(key.expires_at.map(micros)).bind(micros(key.updated_at))
        .bind(revision).bind(key.spend_cap.map(|cap| cap.0))
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

async fn insert_tags(tx: &mut Tx, tenant_id: TenantId, key: &ApiKey) -> Result<(), Error> {
    let text = "
        insert into api_key_tags (tenant_id, api_key_id, tag) values ($1, $2, $3)
        on conflict (tenant_id, tag, api_key_id) do nothing";
    for tag in &key.tags {
        on!(&mut *tx, t => sqlx::query(text)
            .bind(tenant_id.0).bind(key.id.0).bind(tag).execute(&mut **t).await.map(|_| ()))?;
    }
    Ok(())
}

async fn delete_tags(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId) -> Result<(), Error> {
    let text = "delete from api_key_tags where tenant_id = $1 and api_key_id = $2";
    on!(tx, t => sqlx::query(text).bind(tenant_id.0).bind(id.0).execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

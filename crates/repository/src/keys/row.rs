//! A key made from its row and its plan's name.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{ApiKey, ApiKeyId, Environment, KeyStatus, Money, Suspension, TenantId};
use uuid::Uuid;

use crate::{
    Error,
    core::{database::Tx, json},
};

/// The columns of [`KeyRow`], from a table `k` joined with its plan `p`.
macro_rules! key_columns {
    () => {
        "k.tenant_id, k.id, k.key_prefix, k.name, k.description, p.name as tier, k.environment, k.status,
         k.suspended_until, k.suspension_reason, k.owner_id, k.tags, k.metadata, k.allowed_ips, k.allowed_countries,
         k.limits, k.spend_cap, k.expires_at, k.created_at, k.updated_at, k.version"
    };
}
/// Keys that are not deleted, with their plans.
macro_rules! from_keys {
    () => {
        " from api_keys k join plans p on p.tenant_id = k.tenant_id and p.id = k.plan_id
          where k.deleted_at is null and "
    };
}
pub(crate) use {from_keys, key_columns};

#[derive(sqlx::FromRow)]
pub(crate) struct KeyRow {
    tenant_id: Uuid,
    id: Uuid,
    key_prefix: String,
    name: String,
    description: Option<String>,
    tier: String,
    environment: String,
    status: String,
    suspended_until: Option<DateTime<Utc>>,
    suspension_reason: Option<String>,
    owner_id: Option<String>,
    tags: Json<Value>,
    metadata: Json<Value>,
    allowed_ips: Json<Value>,
    allowed_countries: Json<Value>,
    limits: Json<Value>,
    spend_cap: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
}

pub(super) fn status(stored: &str) -> Result<KeyStatus, Error> {
    [KeyStatus::Active, KeyStatus::Suspended, KeyStatus::Revoked]
        .into_iter()
        .find(|s| s.as_str() == stored)
        .ok_or_else(|| Error::Corrupt(format!("api_keys.status: {stored:?}")))
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = Error;

    fn try_from(row: KeyRow) -> Result<Self, Error> {
        let status = status(&row.status)?;
        let environment = Environment::ALL.into_iter().find(|e| e.as_str() == row.environment);
        let suspension = Suspension { until: row.suspended_until, reason: row.suspension_reason };
        Ok(Self {
            id: ApiKeyId(row.id),
            tenant_id: TenantId(row.tenant_id),
            key_prefix: row.key_prefix,
            name: row.name,
            description: row.description,
            tier: row.tier,
            environment: environment
                .ok_or_else(|| Error::Corrupt(format!("api_keys.environment: {:?}", row.environment)))?,
            status,
            suspension: (status == KeyStatus::Suspended).then_some(suspension),
            owner_id: row.owner_id,
            tags: json::read_items(row.tags, "api_keys.tags")?,
            metadata: json::read_object(row.metadata, "api_keys.metadata")?,
            allowed_ips: json::read_items(row.allowed_ips, "api_keys.allowed_ips")?,
            allowed_countries: json::read_items(row.allowed_countries, "api_keys.allowed_countries")?,
            expires_at: row.expires_at,
            limits: json::read_items(row.limits, "api_keys.limits")?,
            spend_cap: row.spend_cap.map(Money),
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version,
        })
    }
}

pub(super) const BY_ID: &str = concat!("select ", key_columns!(), from_keys!(), "k.tenant_id = $1 and k.id = $2");

/// A key as this transaction sees it.
pub(crate) async fn get(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>, Error> {
    let row: Option<KeyRow> = on!(tx, t =>
        sqlx::query_as(BY_ID).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    row.map(ApiKey::try_from).transpose()
}

/// The text that a search looks through. Folded here, because the engines fold differently beyond ASCII.
pub(crate) fn search_text(key: &ApiKey, key_prefix: &str) -> String {
    [key.name.as_str(), key.description.as_deref().unwrap_or_default(), key_prefix].join("\n").to_lowercase()
}

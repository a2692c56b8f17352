//! A key as a node knows it: the record and its plan, with everything that a check needs computed in advance.

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, ApiKeyId, BillingPeriod, Country, KeyStatus, Network, TenantId, api_key::Validity};
use tollgate_limiter::{HashKey, InvalidQuota};
use tollgate_repository::KeyAndPlan;

use super::{
    http_text::KeyText,
    spend_cap::SpendCap,
    subject::{CountedSubject, timestamp},
};
use crate::check::effective_limits::LimitsPool;

/// The part of a key's record that a check and its answer need. The rest is left out, because a node holds many keys.
pub struct HeldKey {
    /// The key's id.
    pub id: ApiKeyId,
    /// The tenant that owns the key.
    pub tenant_id: TenantId,
    /// A name for people.
    pub name: String,
    /// The plan's slug.
    pub tier: String,
    /// The tenant's own id of the customer who holds the key.
    pub owner_id: Option<String>,
    pub(crate) validity: Validity,
    pub(crate) allowed_ips: Box<[Network]>,
    pub(crate) allowed_countries: Box<[Country]>,
}

/// A key, ready to be checked.
pub struct KnownKey {
    /// The key's record.
    pub key: HeldKey,
    /// The counters that a check changes.
    pub counted: CountedSubject,
    /// The part of an HTTP answer that is the same every time.
    pub http_text: OnceLock<KeyText>,
    /// When the secret that led to this key ends (the grace of a rotated key), in microseconds.
    pub(crate) secret_ends: Option<i64>,
    has_own_limits: bool,
    /// When the limits must be computed again, because prices change, in microseconds.
    limits_end: Option<i64>,
}

impl KnownKey {
    /// Computes a key's limits, or takes those of its plan. `period` is the billing period in
    /// which `found.used` was counted.
    pub(crate) fn new(
        found: KeyAndPlan,
        cap: Option<SpendCap>,
        pool: &LimitsPool,
        hash_key: &HashKey,
        period: BillingPeriod,
    ) -> Result<Self, InvalidQuota> {
        let KeyAndPlan { key, plan, secret_expires_at, used } = found;
        let cap_units = cap.and_then(|cap| cap.units);
        let limits = pool.of(&key, plan, cap_units)?;
        let used = u64::try_from(used).unwrap_or(0);
        Ok(Self {
            counted: CountedSubject::of_key(&key, limits, hash_key, timestamp(period.start), used, cap_units),
            limits_end: cap.map(|cap| cap.until.timestamp_micros()),
            http_text: OnceLock::new(),
            secret_ends: secret_expires_at.map(|at| at.timestamp_micros()),
            has_own_limits: !key.limits.is_empty(),
            key: HeldKey::from(key),
        })
    }

    /// Whether its plan has changed or its prices have at `now`, in microseconds, so that the key must be read again.
    pub(crate) fn is_outdated(&self, now: i64) -> bool {
        self.counted.limits.is_outdated() || self.limits_end.is_some_and(|end| end <= now)
    }

    /// Approximate bytes, including the text of its answers, without the parts shared with other keys.
    pub(crate) fn size(&self) -> usize {
        let texts = self.key.name.len() + self.key.tier.len() + self.key.owner_id.as_ref().map_or(0, String::len);
        let lists =
            self.key.allowed_ips.len() * size_of::<Network>() + self.key.allowed_countries.len() * size_of::<Country>();
        // Names, tier and owner are also in the answer's text.
        let limits = if self.has_own_limits { self.counted.limits.size() } else { 0 };
        size_of::<Self>() + 2 * texts + 128 + lists + limits
    }
}

impl HeldKey {
    /// The status in force at `now`.
    pub fn status_at(&self, now: DateTime<Utc>) -> KeyStatus {
        self.validity.status_at(now)
    }
}

impl From<ApiKey> for HeldKey {
    fn from(key: ApiKey) -> Self {
        Self {
            validity: key.validity(),
            id: key.id,
            tenant_id: key.tenant_id,
            name: key.name,
            tier: key.tier,
            owner_id: key.owner_id,
            allowed_ips: key.allowed_ips.into(),
            allowed_countries: key.allowed_countries.into(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tollgate_domain::{Environment, Plan};

    use super::*;

    /// An active key of a plan, with nothing that is not needed.
    pub(crate) fn key(id: ApiKeyId, plan: &Plan) -> ApiKey {
        ApiKey {
            id,
            tenant_id: plan.tenant_id,
            key_prefix: String::new(),
            name: "k".into(),
            description: None,
            tier: plan.name.clone(),
            environment: Environment::Live,
            status: KeyStatus::Active,
            suspension: None,
            owner_id: None,
            tags: vec![],
            metadata: serde_json::Map::new(),
            allowed_ips: vec![],
            allowed_countries: vec![],
            expires_at: None,
            limits: vec![],
            spend_cap: None,
            created_at: plan.created_at,
            updated_at: plan.updated_at,
            version: 1,
        }
    }
}

//! What a node knows of a key: the record and its plan, with everything a check needs worked out beforehand.

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, ApiKeyId, BillingPeriod, Country, KeyStatus, Network, TenantId, api_key::Validity};
use tollgate_limiter::{HashKey, InvalidQuota};
use tollgate_repository::KeyAndPlan;

use super::{
    http_text::KeyText,
    subject::{CountedSubject, timestamp},
};
use crate::check::effective_limits::LimitsPool;

/// What a check and its answer need of a key's record. What only people read is left out: a node holds many keys.
pub struct HeldKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose key it is.
    pub tenant_id: TenantId,
    /// For people.
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
    /// The key.
    pub key: HeldKey,
    /// What a check counts.
    pub counted: CountedSubject,
    /// The part of an HTTP answer that is the same in each.
    pub http_text: OnceLock<KeyText>,
    /// The secret this key was found by ends then (a rotated key's grace), in microseconds.
    pub(crate) secret_ends: Option<i64>,
    has_own_limits: bool,
}

impl KnownKey {
    /// Works out a key's limits, or takes those that other keys have too. `period` is the one `found.used` was counted in.
    pub(crate) fn new(
        found: KeyAndPlan,
        pool: &LimitsPool,
        hash_key: &HashKey,
        period: BillingPeriod,
    ) -> Result<Self, InvalidQuota> {
        let KeyAndPlan { key, plan, secret_expires_at, used } = found;
        let limits = pool.of(&key, plan)?;
        let used = u64::try_from(used).unwrap_or(0);
        Ok(Self {
            counted: CountedSubject::of_key(&key, limits, hash_key, timestamp(period.start), used),
            http_text: OnceLock::new(),
            secret_ends: secret_expires_at.map(|at| at.timestamp_micros()),
            has_own_limits: !key.limits.is_empty(),
            key: HeldKey::from(key),
        })
    }

    /// Whether what this was made from has changed, so that it is to be read again.
    pub(crate) fn is_outdated(&self) -> bool {
        self.counted.limits.is_outdated()
    }

    /// Bytes that it takes, about: with the text of its answers, without what it shares with other keys.
    pub(crate) fn size(&self) -> usize {
        let texts = self.key.name.len() + self.key.tier.len() + self.key.owner_id.as_ref().map_or(0, String::len);
        let lists =
            self.key.allowed_ips.len() * size_of::<Network>() + self.key.allowed_countries.len() * size_of::<Country>();
        // Names, tier and owner stand in the answer's text too.
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
            created_at: plan.created_at,
            updated_at: plan.updated_at,
            version: 1,
        }
    }
}

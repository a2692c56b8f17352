//! What a node knows of a key: the record and its plan, with everything a check needs worked out beforehand.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, ApiKeyId, BillingPeriod, Country, KeyStatus, Network, TenantId, api_key::Validity};
use tollgate_limiter::{Check, Floor, HashKey, InvalidQuota, Part, Raise, Subject, Timestamp};
use tollgate_repository::KeyAndPlan;

use crate::check::effective_limits::{CommonTerms, Memo, Terms};

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
pub struct Entry {
    /// The key.
    pub key: HeldKey,
    /// Its plan and limits.
    pub terms: Arc<Terms>,
    pub(crate) subject: Subject,
    owner: Subject,
    /// Of the quota, if there is one.
    floor: Option<Floor>,
    /// What the API works out of this entry.
    pub memo: Memo,
    /// The secret this entry was found by ends then (a rotated key's grace), in microseconds.
    pub(crate) secret_ends: Option<i64>,
    has_own_terms: bool,
}

impl Entry {
    /// Works out a key's limits, or takes those that other keys have too. `period` is the one `found.used` was counted in.
    pub(crate) fn new(
        found: KeyAndPlan,
        common: &CommonTerms,
        hash_key: &HashKey,
        period: BillingPeriod,
    ) -> Result<Self, InvalidQuota> {
        let KeyAndPlan { key, plan, secret_expires_at, used } = found;
        let terms = common.of(&key, plan)?;
        let floor = terms.quota_index().map(|limit_index| Floor {
            limit_index,
            period_start: timestamp(period.start),
            used: u64::try_from(used).unwrap_or(0),
        });
        let owner = owner_subject(hash_key, &key);
        let alone = Subject::new(hash_key, &[b"key", key.tenant_id.0.as_bytes(), key.id.0.as_bytes()]);
        Ok(Self {
            // One atomic step needs one partition.
            subject: if terms.shared.is_empty() { alone } else { alone.in_partition_of(&owner) },
            owner,
            floor,
            memo: Memo::default(),
            secret_ends: secret_expires_at.map(|at| at.timestamp_micros()),
            has_own_terms: !key.limits.is_empty(),
            key: HeldKey::from(key),
            terms,
        })
    }

    /// Whether what this was made from has changed, so that it is to be read again.
    pub(crate) fn is_outdated(&self) -> bool {
        self.terms.is_outdated()
    }

    /// Bytes that it takes, about: with the text of its answers, without what it shares with other keys.
    pub(crate) fn size(&self) -> usize {
        let texts = self.key.name.len() + self.key.tier.len() + self.key.owner_id.as_ref().map_or(0, String::len);
        let lists =
            self.key.allowed_ips.len() * size_of::<Network>() + self.key.allowed_countries.len() * size_of::<Country>();
        // Names, tier and owner stand in the answer's text too.
        let terms = if self.has_own_terms { self.terms.size() } else { 0 };
        size_of::<Self>() + 2 * texts + 128 + lists + terms
    }

    /// That at least `used` of the quota is used in the period that begins at `period_start`; None without a quota.
    pub(crate) fn raise(&self, period_start: Timestamp, used: i64) -> Option<Raise<'_>> {
        let used = u64::try_from(used).unwrap_or(0);
        let limit_index = self.terms.quota_index()?;
        Some(Raise { subject: self.subject, limits: &self.terms.own, limit_index, period_start, used })
    }

    /// What the limiter is asked: all limits, of the key and of its owner, in one step.
    pub(crate) fn check(&self, cost: u32) -> EntryCheck<'_> {
        EntryCheck { entry: self, owner: [Part { subject: self.owner, limits: &self.terms.shared, floors: &[] }], cost }
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

/// A check of an entry's limits; holds what a [`Check`] borrows.
pub(crate) struct EntryCheck<'a> {
    entry: &'a Entry,
    owner: [Part<'a>; 1],
    cost: u32,
}

impl EntryCheck<'_> {
    pub(crate) fn as_check(&self) -> Check<'_> {
        let Entry { subject, terms, floor, .. } = self.entry;
        let check = Check::new(*subject, &terms.own).with_floors(floor.as_slice()).with_cost(self.cost);
        if terms.shared.is_empty() { check } else { check.with_others(&self.owner) }
    }
}

/// Whose counters the limits shared by an owner's keys are.
fn owner_subject(hash_key: &HashKey, key: &ApiKey) -> Subject {
    let owner = key.owner_id.as_deref().unwrap_or_default();
    Subject::new(hash_key, &[b"owner", key.tenant_id.0.as_bytes(), owner.as_bytes()])
}

pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
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

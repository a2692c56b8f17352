//! Whose counters a check moves, and by which limits: all that the limiter is asked, whoever is behind it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tollgate_domain::ApiKey;
use tollgate_limiter::{Check, Floor, HashKey, Part, Raise, Subject, Timestamp};

use super::effective_limits::EffectiveLimits;

/// A subject with its limits. It needs no API key: what a proxy describes can be counted the same way.
pub struct CountedSubject {
    /// By which limits.
    pub limits: Arc<EffectiveLimits>,
    pub(crate) subject: Subject,
    /// Whose counters the limits are that an owner's keys share.
    owner: Subject,
    /// Of the quota, if there is one.
    floor: Option<Floor>,
}

impl CountedSubject {
    /// A key, of whose quota `used` is used in the period that begins at `period_start`.
    pub(super) fn of_key(
        key: &ApiKey,
        limits: Arc<EffectiveLimits>,
        hash_key: &HashKey,
        period_start: Timestamp,
        used: u64,
    ) -> Self {
        let floor = limits.quota_index().map(|limit_index| Floor { limit_index, period_start, used });
        let owner = owner_subject(hash_key, key);
        let alone = Subject::new(hash_key, &[b"key", key.tenant_id.0.as_bytes(), key.id.0.as_bytes()]);
        // One atomic step needs one partition.
        let subject = if limits.shared.is_empty() { alone } else { alone.in_partition_of(&owner) };
        Self { limits, subject, owner, floor }
    }

    /// That at least `used` of the quota is used in the period that begins at `period_start`; None without a quota.
    pub(crate) fn raise(&self, period_start: Timestamp, used: i64) -> Option<Raise<'_>> {
        let used = u64::try_from(used).unwrap_or(0);
        let limit_index = self.limits.quota_index()?;
        Some(Raise { subject: self.subject, limits: &self.limits.own, limit_index, period_start, used })
    }

    /// What the limiter is asked: all limits, of the key and of its owner, in one step.
    pub(crate) fn check(&self, cost: u32) -> SubjectCheck<'_> {
        SubjectCheck {
            counted: self,
            owner: [Part { subject: self.owner, limits: &self.limits.shared, floors: &[] }],
            cost,
        }
    }
}

/// A check of a subject's limits; holds what a [`Check`] borrows.
pub(crate) struct SubjectCheck<'a> {
    counted: &'a CountedSubject,
    owner: [Part<'a>; 1],
    cost: u32,
}

impl SubjectCheck<'_> {
    pub(crate) fn as_check(&self) -> Check<'_> {
        let CountedSubject { subject, limits, floor, .. } = self.counted;
        let check = Check::new(*subject, &limits.own).with_floors(floor.as_slice()).with_cost(self.cost);
        if limits.shared.is_empty() { check } else { check.with_others(&self.owner) }
    }
}

fn owner_subject(hash_key: &HashKey, key: &ApiKey) -> Subject {
    let owner = key.owner_id.as_deref().unwrap_or_default();
    Subject::new(hash_key, &[b"owner", key.tenant_id.0.as_bytes(), owner.as_bytes()])
}

pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

//! The subject of a check: its counters and limits, independent of the kind of caller.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use smallvec::SmallVec;
use tollgate_domain::ApiKey;
use tollgate_limiter::{Check, Floor, HashKey, Part, Raise, Subject, Timestamp};

use super::{effective_limits::EffectiveLimits, spend_cap::SpendCap};

/// A subject with its limits. It needs no API key, so a subject that a proxy describes can be counted in the same way.
pub struct CountedSubject {
    /// The limits, in the limiter's form.
    pub limits: Arc<EffectiveLimits>,
    pub(crate) subject: Subject,
    /// The subject of the limits that an owner's keys share.
    owner: Subject,
    /// The known minimum of the use of quota and spend cap, if there are any.
    floors: SmallVec<[Floor; 1]>,
}

impl CountedSubject {
    /// A key that has used `used` units in the period that begins at `period_start`, with a spend cap of `cap` units.
    pub(super) fn of_key(
        key: &ApiKey,
        limits: Arc<EffectiveLimits>,
        hash_key: &HashKey,
        period_start: Timestamp,
        used: u64,
        cap: Option<u64>,
    ) -> Self {
        let of_quota = limits.quota_index().map(|limit_index| Floor { limit_index, period_start, used });
        let of_cap = limits.cap_index().zip(cap).map(|(limit_index, units)| {
            let used = SpendCap::floor(units, used);
            Floor { limit_index, period_start, used }
        });
        let floors = of_quota.into_iter().chain(of_cap).collect();
        let owner = owner_subject(hash_key, key);
        let alone = Subject::new(hash_key, &[b"key", key.tenant_id.0.as_bytes(), key.id.0.as_bytes()]);
        // One atomic step needs all subjects in one partition.
        let subject = if limits.shared.is_empty() { alone } else { alone.in_partition_of(&owner) };
        Self { limits, subject, owner, floors }
    }

    /// Raises the counters of quota and spend cap to at least `used` in the period that begins at `period_start`.
    pub(crate) fn raises(&self, period_start: Timestamp, used: i64) -> impl Iterator<Item = Raise<'_>> {
        let used = u64::try_from(used).unwrap_or(0);
        self.floors.iter().map(move |floor| Raise {
            subject: self.subject,
            limits: &self.limits.own,
            limit_index: floor.limit_index,
            period_start,
            used,
        })
    }

    /// The limiter's check of all limits, of the key and of its owner, in one step.
    pub(crate) fn check(&self, cost: u32) -> SubjectCheck<'_> {
        SubjectCheck {
            counted: self,
            owner: [Part { subject: self.owner, limits: &self.limits.shared, floors: &[] }],
            cost,
        }
    }
}

/// A check of a subject's limits. It owns what a [`Check`] borrows.
pub(crate) struct SubjectCheck<'a> {
    counted: &'a CountedSubject,
    owner: [Part<'a>; 1],
    cost: u32,
}

impl SubjectCheck<'_> {
    pub(crate) fn as_check(&self) -> Check<'_> {
        let CountedSubject { subject, limits, floors, .. } = self.counted;
        let check = Check::new(*subject, &limits.own).with_floors(floors).with_cost(self.cost);
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

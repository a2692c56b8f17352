//! What a node knows of a key: the record and its plan, with everything a check needs worked out beforehand.

use std::{any::Any, sync::OnceLock};

use tollgate_domain::{Algorithm, ApiKey, BillingPeriod, CalendarSpec, LimitSpec, OnFailure, Overage, Per, Plan};
use tollgate_limiter::{
    Calendar, CalendarUnit, Check, Floor, HashKey, InvalidQuota, Limit, Mode, Part, Quota, Raise, Subject, Timestamp,
    Tz, Window,
};
use tollgate_repository::KeyAndPlan;

/// Name of the limit that stands for the period's quota.
pub const QUOTA: &str = "quota";

/// A key, ready to be checked.
pub struct Entry {
    /// The record.
    pub key: ApiKey,
    /// Its plan.
    pub plan: Plan,
    /// The limits in force, first those counted per key, then those the owner's keys share; without the quota.
    pub specs: Vec<LimitSpec>,
    /// For the limiter: those counted per key, then the quota if the plan has one.
    own: Vec<Limit>,
    /// Those that the owner's keys share.
    shared: Vec<Limit>,
    pub(crate) subject: Subject,
    owner: Subject,
    pub(crate) floors: Vec<Floor>,
    memo: OnceLock<Box<dyn Any + Send + Sync>>,
    /// The secret this entry was found by ends then (a rotated key's grace), in microseconds.
    pub(crate) secret_ends: Option<i64>,
}

impl Entry {
    /// Works out a key's limits. `period` is the one `found.used` was counted in.
    pub fn new(found: KeyAndPlan, hash_key: &HashKey, period: BillingPeriod) -> Result<Self, InvalidQuota> {
        let KeyAndPlan { key, plan, secret_expires_at, used } = found;
        let of_owner = |spec: &LimitSpec| spec.per == Per::Owner && key.owner_id.is_some();
        let mut specs = key.effective_limits(&plan.limits);
        specs.sort_by_key(of_owner);
        let all = specs.iter().map(to_limit).collect::<Result<Vec<_>, _>>()?;
        let (mut own, mut shared) = (all, Vec::new());
        shared.extend(own.drain(specs.iter().filter(|spec| !of_owner(spec)).count()..));
        let mut floors = Vec::new();
        if let Some(quota) = &plan.quota {
            let mode = match quota.overage {
                Overage::Block => Mode::Enforce,
                Overage::Bill => Mode::Count,
            };
            floors.push(Floor {
                limit_index: own.len(),
                period_start: timestamp(period.start),
                used: u64::try_from(used).unwrap_or(0),
            });
            own.push(quota_limit(quota.limit)?.with_mode(mode));
        }
        let owner = owner_subject(hash_key, &key);
        let alone = Subject::new(hash_key, &[b"key", key.tenant_id.0.as_bytes(), key.id.0.as_bytes()]);
        Ok(Self {
            // One atomic step needs one partition.
            subject: if shared.is_empty() { alone } else { alone.in_partition_of(&owner) },
            owner,
            memo: OnceLock::new(),
            secret_ends: secret_expires_at.map(|at| at.timestamp_micros()),
            key,
            plan,
            specs,
            own,
            shared,
            floors,
        })
    }

    /// What the API works out of this entry, once, for as long as the entry is held: [`Entry`] knows nothing of its answers.
    /// None when something of another type was kept before.
    pub fn memo<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Option<&T> {
        self.memo.get_or_init(|| Box::new(make(self))).downcast_ref()
    }

    /// Every limit in the order of a decision's: per key, the quota, the owner's.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.own.iter().chain(&self.shared)
    }

    /// Index of the quota among [`Entry::limits`], if the plan has one.
    pub fn quota_index(&self) -> Option<usize> {
        self.plan.quota.as_ref().map(|_| self.own.len().saturating_sub(1))
    }

    /// That at least `used` of the quota is used in the period that begins at `period_start`; None without a quota.
    pub(crate) fn raise(&self, period_start: Timestamp, used: i64) -> Option<Raise<'_>> {
        let used = u64::try_from(used).unwrap_or(0);
        Some(Raise { subject: self.subject, limits: &self.own, limit_index: self.quota_index()?, period_start, used })
    }

    /// What the limiter is asked: all limits, of the key and of its owner, in one step.
    pub(crate) fn check(&self, cost: u32) -> EntryCheck<'_> {
        EntryCheck { entry: self, owner: [Part { subject: self.owner, limits: &self.shared, floors: &[] }], cost }
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
        let check =
            Check::new(self.entry.subject, &self.entry.own).with_floors(&self.entry.floors).with_cost(self.cost);
        if self.entry.shared.is_empty() { check } else { check.with_others(&self.owner) }
    }
}

/// Whose counters the limits shared by an owner's keys are.
fn owner_subject(hash_key: &HashKey, key: &ApiKey) -> Subject {
    let owner = key.owner_id.as_deref().unwrap_or_default();
    Subject::new(hash_key, &[b"owner", key.tenant_id.0.as_bytes(), owner.as_bytes()])
}

/// The counter of a billing period: a calendar month in UTC. Its size is not part of its identity.
pub(crate) fn quota_limit(limit: u64) -> Result<Limit, InvalidQuota> {
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    Ok(Limit::new(QUOTA, Quota::fixed_window(limit, month)?))
}

/// A limit of a plan or key as the limiter knows it.
fn to_limit(spec: &LimitSpec) -> Result<Limit, InvalidQuota> {
    let length = std::time::Duration::from_secs(spec.window);
    let quota = match (spec.algorithm, &spec.calendar) {
        (Algorithm::SlidingWindow, _) => Quota::sliding_window(spec.limit, Window::Every(length))?,
        (Algorithm::FixedWindow, None) => Quota::fixed_window(spec.limit, Window::Every(length))?,
        (Algorithm::FixedWindow, Some(calendar)) => Quota::fixed_window(spec.limit, calendar_window(calendar)?)?,
        (Algorithm::TokenBucket, _) => Quota::token_bucket(spec.limit, length, spec.burst.unwrap_or(spec.limit))?,
    };
    let on_failure = match spec.on_failure {
        OnFailure::Local => tollgate_limiter::OnFailure::Local,
        OnFailure::Allow => tollgate_limiter::OnFailure::Allow,
        OnFailure::Deny => tollgate_limiter::OnFailure::Deny,
    };
    Ok(Limit::new(spec.name.as_str(), quota).with_on_failure(on_failure).with_weight(spec.cost))
}

fn calendar_window(spec: &CalendarSpec) -> Result<Window, InvalidQuota> {
    let unit = match spec.unit {
        tollgate_domain::CalendarUnit::Minute => CalendarUnit::Minute,
        tollgate_domain::CalendarUnit::Hour => CalendarUnit::Hour,
        tollgate_domain::CalendarUnit::Day => CalendarUnit::Day,
        tollgate_domain::CalendarUnit::Week => CalendarUnit::Week,
        tollgate_domain::CalendarUnit::Month => CalendarUnit::Month,
        tollgate_domain::CalendarUnit::Year => CalendarUnit::Year,
    };
    // A stored zone was checked when it came in; one that a later zone table lacks counts as UTC.
    let calendar = Calendar::new(unit, spec.zone().unwrap_or(Tz::UTC));
    Ok(Window::Calendar(match spec.anchor_day {
        Some(day) => calendar.anchored_on_day(day)?,
        None => calendar,
    }))
}

pub(crate) fn timestamp(at: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

//! What a node knows of a key: the record and its plan, with everything a check needs worked out beforehand.

use std::sync::Arc;

use tollgate_domain::{Algorithm, ApiKey, ApiKeyId, BillingPeriod, LimitSpec, OnFailure, Overage, Plan, TenantId};
use tollgate_limiter::{
    Calendar, CalendarUnit, Floor, HashKey, InvalidQuota, Limit, Mode, Quota, Subject, Timestamp, Tz, Window,
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
    /// The limits in force, in the order of [`Entry::limits`]; the quota is not among them.
    pub specs: Vec<LimitSpec>,
    /// For the limiter: one per spec, then the quota if the plan has one.
    pub limits: Vec<Limit>,
    /// `limit` and `window` of each of `limits` as the `RateLimit-Policy` field states them.
    pub policy: Arc<str>,
    pub(crate) subject: Subject,
    pub(crate) floors: Vec<Floor>,
    /// The secret this entry was found by ends then (a rotated key's grace), in microseconds.
    pub(crate) secret_ends: Option<i64>,
}

impl Entry {
    /// Works out a key's limits. `period` is the one `found.used` was counted in.
    pub fn new(found: KeyAndPlan, hash_key: &HashKey, period: BillingPeriod) -> Result<Self, InvalidQuota> {
        let KeyAndPlan { key, plan, secret_expires_at, used } = found;
        let specs = key.effective_limits(&plan.limits);
        let mut limits = specs.iter().map(to_limit).collect::<Result<Vec<_>, _>>()?;
        let mut floors = Vec::new();
        if let Some(quota) = &plan.quota {
            let mode = match quota.overage {
                Overage::Block => Mode::Enforce,
                Overage::Bill => Mode::Count,
            };
            floors.push(Floor {
                limit_index: limits.len(),
                period_start: timestamp(period.start),
                used: u64::try_from(used).unwrap_or(0),
            });
            limits.push(quota_limit(quota.limit)?.with_mode(mode));
        }
        Ok(Self {
            policy: policy_field(&specs).into(),
            subject: subject(hash_key, key.tenant_id, key.id),
            secret_ends: secret_expires_at.map(|at| at.timestamp_micros()),
            key,
            plan,
            specs,
            limits,
            floors,
        })
    }

    /// Index of the quota in [`Entry::limits`], if the plan has one.
    pub fn quota_index(&self) -> Option<usize> {
        (self.limits.len() > self.specs.len()).then_some(self.specs.len())
    }
}

/// Whose counters a key's are.
pub(crate) fn subject(hash_key: &HashKey, tenant_id: TenantId, id: ApiKeyId) -> Subject {
    Subject::new(hash_key, &[b"key", tenant_id.0.as_bytes(), id.0.as_bytes()])
}

/// The counter of a billing period: a calendar month in UTC. Its size is not part of its identity.
pub(crate) fn quota_limit(limit: u64) -> Result<Limit, InvalidQuota> {
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    Ok(Limit::new(QUOTA, Quota::fixed_window(limit, month)?))
}

/// A limit of a plan or key as the limiter knows it.
fn to_limit(spec: &LimitSpec) -> Result<Limit, InvalidQuota> {
    let window = Window::Every(std::time::Duration::from_secs(spec.window));
    let quota = match spec.algorithm {
        Algorithm::SlidingWindow => Quota::sliding_window(spec.limit, window)?,
        Algorithm::FixedWindow => Quota::fixed_window(spec.limit, window)?,
    };
    let on_failure = match spec.on_failure {
        OnFailure::Local => tollgate_limiter::OnFailure::Local,
        OnFailure::Allow => tollgate_limiter::OnFailure::Allow,
        OnFailure::Deny => tollgate_limiter::OnFailure::Deny,
    };
    Ok(Limit::new(spec.name.as_str(), quota).with_on_failure(on_failure))
}

/// `"per-hour";q=1000;w=3600`, comma separated (draft-ietf-httpapi-ratelimit-headers-10). Names hold no quotes.
fn policy_field(specs: &[LimitSpec]) -> String {
    let one = |spec: &LimitSpec| format!("\"{}\";q={};w={}", spec.name, spec.limit, spec.window);
    specs.iter().map(one).collect::<Vec<_>>().join(", ")
}

pub(crate) fn timestamp(at: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp::from_micros(at.timestamp_micros())
}

//! A decided check, in the terms of its answer: which limit is tightest, which refused, how long to wait.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tollgate_domain::LimitSpec;
use tollgate_limiter::{Decision, LimitStatus, Retry};

use crate::{KnownKey, check::spend_cap::SPEND_CAP};

/// A decided check with its key.
pub struct CheckOutcome {
    /// The key that was checked.
    pub known_key: Arc<KnownKey>,
    /// The limiter's decision, over all limits of the key.
    pub decision: Decision,
    /// When it was decided, by the service's clock.
    pub at: DateTime<Utc>,
}

impl CheckOutcome {
    /// Whether the request may go ahead.
    pub fn allowed(&self) -> bool {
        self.decision.allowed
    }

    /// The status of each rate limit with its specification, in their order: without the quota, and with what applies
    /// beyond it, which comes last, only when it does.
    pub fn rate_limits(&self) -> impl Iterator<Item = (&LimitSpec, &LimitStatus)> {
        let (limits, statuses) = (&self.known_key.counted.limits, &self.decision.limits);
        let per_key = statuses.get(..limits.quota_index().unwrap_or(limits.own.len())).unwrap_or_default();
        let per_owner = statuses.get(limits.own.len()..).unwrap_or_default();
        limits.specs.iter().zip(per_key.iter().chain(per_owner).chain(self.overage()))
    }

    /// The status of the limit that applies beyond the quota; None while it does not.
    fn overage(&self) -> Option<&LimitStatus> {
        let status = self.decision.limits.get(self.known_key.counted.limits.overage_index()?)?;
        Some(status).filter(|status| status.is_enforced())
    }

    /// Whether the limit that applies beyond the quota does so now.
    pub fn is_throttled(&self) -> bool {
        self.overage().is_some()
    }

    /// The quota's status, if the plan has one.
    pub fn quota(&self) -> Option<&LimitStatus> {
        self.decision.limits.get(self.known_key.counted.limits.quota_index()?)
    }

    /// The most constrained limit, whose figures lead the answer.
    pub fn most_constrained(&self) -> Option<&LimitStatus> {
        self.decision.most_constrained()
    }

    /// Names of the limits that refused.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        let statuses = self.decision.limits.iter().zip(self.known_key.counted.limits.all());
        statuses.filter(|(status, _)| !status.is_allowed()).map(|(_, limit)| limit.name())
    }

    /// Whether only what a period includes or may cost refused, and no rate limit.
    pub fn quota_exceeded(&self) -> bool {
        let refused = |spec: &LimitSpec, status: &LimitStatus| !status.is_allowed() && spec.name != SPEND_CAP;
        !self.allowed() && !self.rate_limits().any(|(spec, status)| refused(spec, status))
    }

    /// Whether the key's spend cap refused.
    pub fn spend_cap_reached(&self) -> bool {
        self.violated().any(|name| name == SPEND_CAP)
    }

    /// Names of the limits that the request exceeds by itself, so that waiting does not help.
    pub fn exceeded(&self) -> impl Iterator<Item = &str> {
        let statuses = self.decision.limits.iter().zip(self.known_key.counted.limits.all());
        statuses.filter(|(status, _)| status.retry() == Some(Retry::Never)).map(|(_, limit)| limit.name())
    }

    /// How long to wait, in whole seconds: 0 when allowed, at least 1 on a refusal, None when the request never fits.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        if self.allowed() { Some(0) } else { self.decision.retry_after_seconds() }
    }
}

/// Whole seconds, rounded up so that a client that waits for them is not early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

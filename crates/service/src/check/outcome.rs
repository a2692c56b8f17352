//! A decided check, in the terms of its answer: which limit is tightest, which refused, how long to wait.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tollgate_limiter::{Decision, LimitStatus, Retry};

use crate::KnownKey;

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

    /// The status of each rate limit with its specification, without the quota.
    pub fn rate_limits(&self) -> impl Iterator<Item = (&tollgate_domain::LimitSpec, &LimitStatus)> {
        let quota = self.known_key.counted.limits.quota_index();
        let statuses = self.decision.limits.iter().enumerate().filter(move |(index, _)| Some(*index) != quota);
        self.known_key.counted.limits.specs.iter().zip(statuses.map(|(_, status)| status))
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

    /// Whether only the period's quota refused, and no rate limit.
    pub fn quota_exceeded(&self) -> bool {
        !self.allowed() && self.rate_limits().all(|(_, status)| status.is_allowed())
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

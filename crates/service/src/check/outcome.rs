//! A decided check, read as answers need it: which limit is tightest, which refused, how long to wait.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tollgate_limiter::{Decision, LimitStatus, Retry};

use crate::KnownKey;

/// A decided check.
pub struct CheckOutcome {
    /// Whose.
    pub known_key: Arc<KnownKey>,
    /// What was decided.
    pub decision: Decision,
    /// When, by the service's clock.
    pub at: DateTime<Utc>,
}

impl CheckOutcome {
    /// Whether the request may go ahead.
    pub fn allowed(&self) -> bool {
        self.decision.allowed
    }

    /// The rate limits, without the quota, each with its specification's index.
    pub fn rate_limits(&self) -> impl Iterator<Item = (&tollgate_domain::LimitSpec, &LimitStatus)> {
        let quota = self.known_key.counted.limits.quota_index();
        let statuses = self.decision.limits.iter().enumerate().filter(move |(index, _)| Some(*index) != quota);
        self.known_key.counted.limits.specs.iter().zip(statuses.map(|(_, status)| status))
    }

    /// Where the quota stands, if the plan has one.
    pub fn quota(&self) -> Option<&LimitStatus> {
        self.decision.limits.get(self.known_key.counted.limits.quota_index()?)
    }

    /// The limit that stands for the whole answer: the one that holds the caller up most.
    pub fn most_constrained(&self) -> Option<&LimitStatus> {
        self.decision.most_constrained()
    }

    /// Names of the limits that refused.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        let statuses = self.decision.limits.iter().zip(self.known_key.counted.limits.all());
        statuses.filter(|(status, _)| !status.is_allowed()).map(|(_, limit)| limit.name())
    }

    /// Whether the period's quota, and no rate limit, refused.
    pub fn quota_exceeded(&self) -> bool {
        !self.allowed() && self.rate_limits().all(|(_, status)| status.is_allowed())
    }

    /// Names of the limits that the request exceeds by itself, so that no waiting helps.
    pub fn exceeded(&self) -> impl Iterator<Item = &str> {
        let statuses = self.decision.limits.iter().zip(self.known_key.counted.limits.all());
        statuses.filter(|(status, _)| status.retry() == Some(Retry::Never)).map(|(_, limit)| limit.name())
    }

    /// How long to wait, in whole seconds: 0 when there is no need to, at least 1 on a refusal, None when it never fits.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        if self.allowed() { Some(0) } else { self.decision.retry_after_seconds() }
    }
}

/// Seconds, rounded up: a client that waits this long does not come too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

//! A decided check, read as answers need it: which limit is tightest, which refused, how long to wait.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tollgate_limiter::{Decision, LimitStatus, Mode};

use crate::Entry;

/// A decided check.
pub struct Checked {
    /// Whose.
    pub entry: Arc<Entry>,
    /// What was decided.
    pub decision: Decision,
    /// When, by the service's clock.
    pub at: DateTime<Utc>,
}

impl Checked {
    /// Whether the request may go ahead.
    pub fn allowed(&self) -> bool {
        self.decision.allowed
    }

    /// The rate limits, without the quota, each with its specification's index.
    pub fn rate_limits(&self) -> impl Iterator<Item = (&tollgate_domain::LimitSpec, &LimitStatus)> {
        let quota = self.entry.terms.quota_index();
        let statuses = self.decision.limits.iter().enumerate().filter(move |(index, _)| Some(*index) != quota);
        self.entry.terms.specs.iter().zip(statuses.map(|(_, status)| status))
    }

    /// Where the quota stands, if the plan has one.
    pub fn quota(&self) -> Option<&LimitStatus> {
        self.decision.limits.get(self.entry.terms.quota_index()?)
    }

    /// The limit that stands for the whole answer: the one that refused longest, else the one with the least left. A quota
    /// whose overage is billed never is.
    pub fn most_constrained(&self) -> Option<(&str, &LimitStatus)> {
        let statuses = self.decision.limits.iter().zip(self.entry.terms.limits());
        let enforced = statuses.filter(|(_, limit)| limit.mode() == Mode::Enforce);
        let rank = |status: &LimitStatus| (status.is_allowed(), Reverse(wait(status)), status.remaining());
        enforced.min_by_key(|(status, _)| rank(status)).map(|(status, limit)| (limit.name(), status))
    }

    /// Names of the limits that refused.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        let statuses = self.decision.limits.iter().zip(self.entry.terms.limits());
        statuses.filter(|(status, _)| !status.is_allowed()).map(|(_, limit)| limit.name())
    }

    /// Whether the period's quota, and no rate limit, refused.
    pub fn quota_exceeded(&self) -> bool {
        !self.allowed() && self.rate_limits().all(|(_, status)| status.is_allowed())
    }

    /// How long to wait, in whole seconds, at least 1 on a refusal and 0 otherwise. A request larger than a limit fits never;
    /// it is told to wait for that limit's whole window.
    pub fn retry_after_seconds(&self) -> u64 {
        if self.allowed() {
            return 0;
        }
        let never = || self.most_constrained().map(|(_, status)| status.reset_after());
        whole_seconds(self.decision.retry_after().or_else(never).unwrap_or_default()).max(1)
    }
}

/// Seconds, rounded up: a client that waits so long does not come too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn wait(status: &LimitStatus) -> i64 {
    match status.retry() {
        Some(tollgate_limiter::Retry::At(at)) => at.as_micros(),
        Some(tollgate_limiter::Retry::Never) => i64::MAX,
        None => i64::MIN,
    }
}

//! A decision: allowed or not, when to come back, and the status of every limit.
use std::cmp::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::time::Timestamp;

/// How the answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The store that holds the counters decided.
    Exact,
    /// The shared store was down, and this node's own memory decided.
    Local,
    /// The shared store was down, and every limit admits everything then.
    Open,
    /// The shared store refused the same until a moment that has not come yet.
    RefusedLocally,
    /// Spent from a slice of the budget that the shared store counted in advance.
    Leased,
}

/// When a refused cost fits if nothing else is consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At this moment of the store's clock, and not a microsecond before.
    At(Timestamp),
    /// Never: the cost is larger than the limit.
    Never,
}

/// The answer to a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether the cost was taken.
    pub allowed: bool,
    /// Whether the answer was found without the shared store because it was down.
    pub degraded: bool,
    /// How the answer was found.
    pub source: Source,
    /// The store's clock at the decision.
    pub at: Timestamp,
    /// None when allowed.
    pub retry: Option<Retry>,
    /// One per limit, in the order of the check's parts and their limits.
    pub limits: SmallVec<[LimitStatus; 4]>,
}

/// The status of one limit after the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    pub(crate) limit: i64,
    pub(crate) used: i64,
    pub(crate) at: i64,
    /// See [`LimitStatus::resets_at`].
    pub(crate) resets_at: i64,
    /// Earliest moment at which the cost fits; `i64::MIN` when it fitted, `i64::MAX` when it never will.
    pub(crate) fits_at: i64,
    pub(crate) part: u8,
    pub(crate) index: u8,
    pub(crate) allowed: bool,
    /// See [`LimitStatus::is_enforced`].
    pub(crate) enforced: bool,
    /// The cost fits into the limit before this one, and this one applies only beyond it.
    pub(crate) idle: bool,
    /// Not even one unit of cost fits.
    pub(crate) exhausted: bool,
}

impl Decision {
    /// An open decision: allowed until a limit objects.
    #[inline]
    pub(crate) fn open(now: i64) -> Self {
        let at = Timestamp::from_micros(now);
        Self { allowed: true, degraded: false, source: Source::Exact, at, retry: None, limits: SmallVec::new() }
    }

    /// How long to wait until the cost fits, exact to the microsecond. None when allowed, or when it never fits.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry? {
            Retry::At(moment) => Some(moment.since(self.at)),
            Retry::Never => None,
        }
    }

    /// [`retry_after`](Self::retry_after) in whole seconds, rounded up and at least 1: the value of `Retry-After`.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after().map(|wait| whole_seconds(wait).max(1))
    }

    /// Whether the cost is larger than a limit itself, so that waiting does not help.
    pub fn never_fits(&self) -> bool {
        self.retry == Some(Retry::Never)
    }

    /// The limit that constrains the caller most: the refusing limit with the longest wait; else the limit without a
    /// unit left with the longest wait; else the one with the least left in proportion to its size. None when no limit
    /// ever refuses, because a limit that only counts constrains nobody.
    pub fn most_constrained(&self) -> Option<&LimitStatus> {
        self.limits.iter().filter(|status| status.enforced).min_by(|left, right| left.compare(right))
    }

    /// The limits that refused.
    pub fn refused(&self) -> impl Iterator<Item = &LimitStatus> {
        self.limits.iter().filter(|status| !status.allowed)
    }
}

impl LimitStatus {
    /// The index of the check's part: 0 is the first subject.
    pub fn part(&self) -> usize {
        usize::from(self.part)
    }

    /// The index of the limit within its part.
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }

    /// The limit's size; a token bucket's burst.
    pub fn limit(&self) -> u64 {
        self.limit.unsigned_abs()
    }

    /// Units used, including this check when it was allowed. It exceeds `limit` when the
    /// limit was lowered or only counts.
    pub fn used(&self) -> u64 {
        self.used.unsigned_abs()
    }

    /// Units left of the limit.
    pub fn remaining(&self) -> u64 {
        self.left().unsigned_abs()
    }

    /// When to come back. While not even one unit of cost fits: the moment at which one does. Otherwise the end of the
    /// window, for a bucket or a log the moment at which all of it is free again; or the moment at which the refused
    /// cost fits, if that is sooner.
    pub fn resets_at(&self) -> Timestamp {
        Timestamp::from_micros(self.resets_at)
    }

    /// The time from the decision to [`resets_at`](Self::resets_at).
    pub fn reset_after(&self) -> Duration {
        self.resets_at().since(Timestamp::from_micros(self.at))
    }

    /// [`reset_after`](Self::reset_after) in whole seconds, rounded up so that a caller who waits for it is not early.
    pub fn reset_after_seconds(&self) -> u64 {
        whole_seconds(self.reset_after())
    }

    /// [`resets_at`](Self::resets_at) in Unix seconds, rounded up.
    pub fn reset_unix_seconds(&self) -> u64 {
        whole_seconds(self.resets_at().since(Timestamp::default()))
    }

    /// Whether this limit admitted the cost. The check is allowed when all limits did.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Whether this limit refuses what does not fit. False for a limit that only counts; for a limit beyond a quota it is
    /// true once the quota is used up, and for a cost that exceeds what is left of the quota.
    pub fn is_enforced(&self) -> bool {
        self.enforced
    }

    /// When this limit will admit the cost. None when it did.
    pub fn retry(&self) -> Option<Retry> {
        match self.fits_at {
            i64::MIN => None,
            i64::MAX => Some(Retry::Never),
            micros => Some(Retry::At(Timestamp::from_micros(micros))),
        }
    }

    /// The more constrained comes first.
    fn compare(&self, other: &Self) -> Ordering {
        let refusal = self.allowed.cmp(&other.allowed).then(other.fits_at.cmp(&self.fits_at));
        let share = |left: &Self, right: &Self| i128::from(left.left()) * i128::from(right.limit);
        refusal.then(other.exhausted.cmp(&self.exhausted)).then_with(|| {
            if self.exhausted {
                other.resets_at.cmp(&self.resets_at)
            } else {
                share(self, other).cmp(&share(other, self))
            }
        })
    }

    fn left(&self) -> i64 {
        (self.limit - self.used).max(0)
    }
}

/// Seconds, rounded up.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

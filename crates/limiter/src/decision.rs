//! What is answered: allowed or not, when to come back, and where every limit stands.
use std::cmp::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::time::Timestamp;

/// Which way the answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The store that holds the counters decided.
    Exact,
    /// The shared store was away: this node's own memory decided.
    Local,
    /// The shared store was away and every limit lets everything through then.
    Open,
    /// The shared store had refused as much until a moment that has not come.
    RefusedLocally,
    /// Spent from a slice of the budget that the shared store had counted in advance.
    Leased,
}

/// When a refused cost will fit if nothing else is consumed.
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
    /// The shared store did not take part.
    pub degraded: bool,
    /// Which way the answer came about.
    pub source: Source,
    /// The store's clock when it decided.
    pub at: Timestamp,
    /// None when allowed.
    pub retry: Option<Retry>,
    /// One per limit, in the order of the check's parts and their limits.
    pub limits: SmallVec<[LimitStatus; 4]>,
}

/// Where one limit stands after the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    pub(crate) limit: i64,
    pub(crate) used: i64,
    pub(crate) at: i64,
    /// As [`LimitStatus::resets_at`] says.
    pub(crate) resets_at: i64,
    /// Earliest moment the cost fits; `i64::MIN` when it fitted, `i64::MAX` when it never will.
    pub(crate) fits_at: i64,
    pub(crate) part: u8,
    pub(crate) index: u8,
    pub(crate) allowed: bool,
    /// Refuses what does not fit, instead of only counting it.
    pub(crate) enforced: bool,
    /// Not one unit of cost fits any more.
    pub(crate) exhausted: bool,
}

impl Decision {
    /// Allowed until a limit objects.
    #[inline]
    pub(crate) fn open(now: i64) -> Self {
        let at = Timestamp::from_micros(now);
        Self { allowed: true, degraded: false, source: Source::Exact, at, retry: None, limits: SmallVec::new() }
    }

    /// How long to wait until the cost fits, exact to the microsecond. None when allowed, or when it never will fit.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry? {
            Retry::At(moment) => Some(moment.since(self.at)),
            Retry::Never => None,
        }
    }

    /// The same in whole seconds, rounded up and at least 1: what `Retry-After` says.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after().map(|wait| whole_seconds(wait).max(1))
    }

    /// Whether the cost is larger than a limit itself, so that it is refused however long the caller waits.
    pub fn never_fits(&self) -> bool {
        self.retry == Some(Retry::Never)
    }

    /// The limit that holds the caller up most. Of those that refused, the one that does so longest; else of those without a
    /// unit left, the one that has none longest; else the one with the least left in proportion to its size. None when no
    /// limit ever refuses: one that only counts holds nobody up.
    pub fn most_constrained(&self) -> Option<&LimitStatus> {
        self.limits.iter().filter(|status| status.enforced).min_by(|left, right| left.compare(right))
    }

    /// The limits that refused.
    pub fn refused(&self) -> impl Iterator<Item = &LimitStatus> {
        self.limits.iter().filter(|status| !status.allowed)
    }
}

impl LimitStatus {
    /// Which part of the check: 0 is the first subject.
    pub fn part(&self) -> usize {
        usize::from(self.part)
    }

    /// Which limit of the part.
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }

    /// The limit's size; a token bucket's.
    pub fn limit(&self) -> u64 {
        self.limit.unsigned_abs()
    }

    /// Used so far, with this check when it was allowed. More than `limit` where the limit was lowered or only counts.
    pub fn used(&self) -> u64 {
        self.used.unsigned_abs()
    }

    /// What is left of the limit.
    pub fn remaining(&self) -> u64 {
        self.left().unsigned_abs()
    }

    /// When to come back. While not one unit of cost fits: the moment at which one does. Else the end of the window, of a
    /// bucket or a log the moment at which all of it is free again; or when the refused cost fits, where that is sooner.
    pub fn resets_at(&self) -> Timestamp {
        Timestamp::from_micros(self.resets_at)
    }

    /// The same from the decision on.
    pub fn reset_after(&self) -> Duration {
        self.resets_at().since(Timestamp::from_micros(self.at))
    }

    /// The same in whole seconds, rounded up: whoever waits as long does not come too early.
    pub fn reset_after_seconds(&self) -> u64 {
        whole_seconds(self.reset_after())
    }

    /// The same in Unix seconds, rounded up.
    pub fn reset_unix_seconds(&self) -> u64 {
        whole_seconds(self.resets_at().since(Timestamp::default()))
    }

    /// Whether this limit let the cost through; the check is allowed when all did.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// When this limit will let the cost through. None when it did.
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

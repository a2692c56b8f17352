//! A named quota with its mode (refuse or only count) and its answer while the shared store is down.
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use crate::algorithm::{Cell, Rolled};
use crate::calendar::CalendarUnit;
use crate::quota::{Algorithm, Quota};
use crate::window::Window;

/// What happens when the limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Refuse what does not fit.
    #[default]
    Enforce,
    /// Count and report, never refuse: a quota whose overage is billed.
    Count,
    /// Refuse what does not fit, but only beyond a quota: a cost that fits into the limit directly before this one,
    /// which must be a fixed window that counts, costs nothing here. Of any other cost, all of it must fit.
    ///
    /// What is given back is given back here too while the quota's use exceeds its size. Nodes take no slices for a
    /// subject with such a limit, because a slice that was taken within the quota could be spent beyond it.
    Beyond,
}

/// What the limit answers while the shared store is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFailure {
    /// This node's own memory decides.
    #[default]
    Local,
    /// Admit everything.
    Allow,
    /// Refuse to decide: the check fails with [`Error::Unavailable`](crate::Error::Unavailable).
    Deny,
}

/// A limit. Its name, algorithm and window identify its counter; its size does not, so a raised limit helps at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    name: Arc<str>,
    quota: Quota,
    mode: Mode,
    on_failure: OnFailure,
    weight: u32,
    id: u64,
}

/// Largest weight: with the largest cost, a price still is exact in a Lua double.
pub const MAX_WEIGHT: u32 = 1_000_000;

impl Limit {
    /// A limit that refuses, and that decides locally while the shared store is down.
    pub fn new(name: impl Into<Arc<str>>, quota: Quota) -> Self {
        let name = name.into();
        let id = identity(&name, &quota);
        Self { name, quota, mode: Mode::default(), on_failure: OnFailure::default(), weight: 1, id }
    }

    /// Sets whether the limit refuses, only counts, or refuses beyond a quota.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Sets the answer while the shared store is down.
    #[must_use]
    pub fn with_on_failure(self, on_failure: OnFailure) -> Self {
        Self { on_failure, ..self }
    }

    /// Sets how much one unit of a check's cost takes from the limit, 1..=10^6 (other values are moved
    /// into that range), so that a request can cost much under one limit and little under another. Not
    /// part of the counter's identity.
    #[must_use]
    pub fn with_weight(self, weight: u32) -> Self {
        Self { weight: weight.clamp(1, MAX_WEIGHT), ..self }
    }

    /// How much one unit of a check's cost takes.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Unique among the limits of a subject.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much in how long.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// What happens when the limit is reached.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the limit answers while the shared store is down.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// By how much the limit can be exceeded while nodes hold slices of it. 0 for a window, because a slice is counted
    /// when it is taken and ends with its window, so every window includes what it admitted. For a token bucket, what
    /// flows in within the 100 ms of a slice's life. 0 when leases are off.
    pub fn max_overshoot(&self) -> u64 {
        self.quota.rule().max_overshoot().unsigned_abs()
    }

    /// The price of a check of `cost`. At most 2^32 * 10^6, which is below 2^52.
    pub(crate) fn price(&self, cost: u32) -> i64 {
        i64::from(cost) * i64::from(self.weight)
    }

    /// The limit's cell after its rule has rolled it.
    pub(crate) fn cell(&self, rolled: &Rolled) -> Cell {
        Cell { id: self.id, numbers: rolled.numbers, until: self.quota.rule().until(rolled) }
    }

    /// The id of the limit's cell within a subject.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// Every node must compute the same id, now and after an upgrade, so the key is fixed and numbers are little-endian
/// bytes. 52 bits fit a script's doubles, and are enough to distinguish the few limits of one subject.
fn identity(name: &str, quota: &Quota) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x746f_6c6c_6761_7465, 1);
    let mut field = |bytes: &[u8]| {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    field(name.as_bytes());
    field(match quota.algorithm() {
        Algorithm::SlidingWindow => b"sliding_window",
        Algorithm::SlidingLog => b"sliding_log",
        Algorithm::FixedWindow => b"fixed_window",
        Algorithm::TokenBucket => b"token_bucket",
        Algorithm::Concurrency => b"concurrency",
    });
    match quota.window() {
        Window::Every(length) => field(&length.as_micros().to_le_bytes()),
        Window::Calendar(calendar) => {
            field(match calendar.unit() {
                CalendarUnit::Minute => b"minute",
                CalendarUnit::Hour => b"hour",
                CalendarUnit::Day => b"day",
                CalendarUnit::Week => b"week",
                CalendarUnit::Month => b"month",
                CalendarUnit::Year => b"year",
            });
            field(calendar.zone().name().as_bytes());
            field(&[calendar.anchor_day(), calendar.anchor_month()]);
        }
    }
    hasher.finish() >> 12
}

//! How a limiter behaves, and what it counts about itself.
use std::time::Duration;

#[cfg(feature = "redis")]
use crate::store_fault::StoreFault;

/// Whose clock decides on a shared store. The memory store always takes the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeSource {
    /// The server's, so that nodes with wrong clocks agree.
    #[default]
    Server,
    /// The caller's `now`: for tests with a clock of their own.
    Caller,
}

/// Whether a node may take slices of a hot subject's budget in advance, to spend them without asking for each check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leases {
    /// Where limits can spare it, as [`Limit::max_overshoot`](crate::Limit::max_overshoot) says.
    #[default]
    Automatic,
    /// Never: the shared store decides every check that it could let through.
    Off,
}

/// How a limiter behaves. The defaults are for production.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose clock decides on a shared store.
    pub time: TimeSource,
    /// Whether slices are taken.
    pub leases: Leases,
    /// The longest a call to the shared store may take before the check is answered without it.
    pub call_budget: Duration,
    /// The authority that signed the server's certificate, PEM; without one those that the system trusts.
    pub root_certificate: Option<Vec<u8>>,
    /// Most subjects held in memory, by the memory store or while a shared store is away.
    pub max_subjects: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time: TimeSource::Server,
            leases: Leases::Automatic,
            call_budget: Duration::from_millis(50),
            root_certificate: None,
            max_subjects: 1_000_000,
        }
    }
}

/// Plain counters since the start, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Checks the store that holds the counters decided.
    pub exact: u64,
    /// Checks refused by this node alone, because the shared store had refused as much until later.
    pub refused_locally: u64,
    /// Checks let through by this node alone, from a slice that the shared store had counted.
    pub leased: u64,
    /// Checks answered without the shared store, because it was away.
    pub degraded: u64,
    /// Checks that failed because a limit says `deny` while the shared store is away.
    pub unavailable: u64,
    /// Calls to the shared store that decided checks; `exact / calls` is the mean batch.
    pub calls: u64,
    /// Calls that failed or took longer than their budget.
    pub failed_calls: u64,
    /// Times the breaker opened.
    pub breaker_opens: u64,
    /// Whether the shared store is left alone for now.
    pub breaker_open: bool,
    /// Why.
    #[cfg(feature = "redis")]
    pub fault: Option<StoreFault>,
    /// Subjects held in memory.
    pub subjects: u64,
    /// Subjects dropped from memory before their counters expired, for want of room.
    pub evicted: u64,
}

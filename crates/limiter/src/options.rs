//! Options and counters of a limiter.
use std::time::Duration;

#[cfg(feature = "redis")]
use crate::store_fault::StoreFault;

/// Whose clock decides on a shared store. The memory store always uses the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeSource {
    /// The server's, so that nodes with wrong clocks agree.
    #[default]
    Server,
    /// The caller's `now`: for tests with a clock of their own.
    Caller,
}

/// Whether a node may take slices of a hot subject's budget in advance and spend them without asking the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leases {
    /// When limits can spare it, as [`Limit::max_overshoot`](crate::Limit::max_overshoot) says.
    #[default]
    Automatic,
    /// Never: the shared store decides every check that it could let through.
    Off,
}

/// Options of a limiter. The defaults suit production.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose clock decides on a shared store.
    pub time: TimeSource,
    /// Whether nodes may take slices.
    pub leases: Leases,
    /// The longest time that a call to the shared store may take before the check is answered without it.
    pub call_budget: Duration,
    /// The authority that signed the server's certificate, PEM; `None` uses those that the system trusts.
    pub root_certificate: Option<Vec<u8>>,
    /// Most subjects in memory, in the memory store or while a shared store is down.
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

/// Counts since the start, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Checks the store that holds the counters decided.
    pub exact: u64,
    /// Checks that this node refused alone, because the shared store had refused the same until a later moment.
    pub refused_locally: u64,
    /// Checks that this node allowed alone, from a slice that the shared store had counted.
    pub leased: u64,
    /// Checks that were answered without the shared store because it was down.
    pub degraded: u64,
    /// Checks that failed because a limit has [`OnFailure::Deny`](crate::OnFailure::Deny)
    /// while the shared store is down.
    pub unavailable: u64,
    /// Calls to the shared store that decided checks; `exact / calls` is the mean batch.
    pub calls: u64,
    /// Calls that failed or exceeded their budget.
    pub failed_calls: u64,
    /// Times the breaker opened.
    pub breaker_opens: u64,
    /// Whether the breaker is open now, so that no calls are sent.
    pub breaker_open: bool,
    /// Why the breaker is open; `None` while calls are sent.
    #[cfg(feature = "redis")]
    pub fault: Option<StoreFault>,
    /// Subjects held in memory.
    pub subjects: u64,
    /// Subjects dropped from memory for lack of room before their counters expired.
    pub evicted: u64,
}

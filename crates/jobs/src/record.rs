//! The records that a store takes and returns.

use std::{sync::Arc, time::Duration};

use tollgate_domain::TenantId;

use crate::{Job, Priority};

/// Cause of death of a job whose lease ran out in its last attempt.
pub(crate) const LEASE_EXPIRED: &str = "its worker was killed or stalled: the lease ran out";

/// A job to store.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
    pub(crate) max_attempts: u32,
    pub(crate) tenants: Tenants,
    /// Milliseconds since the epoch; at once when `None`.
    pub(crate) run_at: Option<i64>,
}

/// The tenants that a job belongs to, in their stored form: their ids, each followed by a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenants(pub(crate) String);

impl Tenants {
    pub(crate) fn of(job: &Job) -> Self {
        Self(job.tenants().into_iter().map(|tenant_id| format!("{tenant_id} ")).collect())
    }

    pub(crate) fn include(&self, tenant_id: TenantId) -> bool {
        self.0.split_ascii_whitespace().any(|id| id.parse() == Ok(tenant_id))
    }
}

impl Default for Tenants {
    /// The operator: for a job that was stored without tenants.
    fn default() -> Self {
        Self(TenantId::DEFAULT.to_string())
    }
}

/// A job leased to this process.
#[derive(Clone, Debug)]
pub(crate) struct LeasedJob {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
    /// Attempts that failed before this one.
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    /// Proves the lease: a call with another token changes nothing.
    pub(crate) token: Arc<str>,
}

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Finished, and forgotten by the store.
    Done,
    /// Failed: due again after this time, or dead when it was the last attempt.
    Retry { after: Duration, cause: String },
    /// Dead at once.
    Abort { cause: String },
    /// Not run: due at once, and no attempt is counted.
    GiveBack,
}

/// The end of one lease.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) id: String,
    pub(crate) token: Arc<str>,
    pub(crate) verdict: Verdict,
}

/// A dead job as stored. Times are milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct DeadRecord {
    pub(crate) body: Vec<u8>,
    pub(crate) tenants: Tenants,
    pub(crate) attempts: u32,
    pub(crate) cause: String,
    pub(crate) pushed_at: i64,
    pub(crate) died_at: i64,
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The job waits now.
    Added,
    /// Nothing changed, because a job with this id waits, is leased or is dead.
    AlreadyThere,
}

/// The depth of one priority's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Which queue.
    pub priority: Priority,
    /// Jobs that are due and not leased.
    pub waiting: u64,
    /// Jobs that are due later: scheduled, or waiting for their next attempt.
    pub scheduled: u64,
    /// Jobs that a worker holds.
    pub leased: u64,
    /// Dead jobs that are kept.
    pub dead: u64,
    /// Dead jobs that were dropped to make room for later ones, counted since the store was empty.
    pub dead_dropped: u64,
    /// How long the job that is due longest has waited; `None` when no job waits.
    pub oldest_waiting: Option<Duration>,
}

//! Where jobs wait: in this process or in Redis, with the same behaviour, chosen once.

use std::{sync::Arc, time::Duration};

use crate::{Depth, Error, Priority, Pushed, memory::Memory, redis::RedisStore};

/// Cause of death of a job whose worker went away once too often.
pub(crate) const LEASE_EXPIRED: &str = "its worker was killed or stalled: the lease ran out";

/// A job to store.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
    pub(crate) max_attempts: u32,
    /// Milliseconds since the epoch; at once when `None`.
    pub(crate) run_at: Option<i64>,
}

/// A job leased to this process.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
    /// Attempts that failed before this one.
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    /// Proves the lease: what is done with another token changes nothing.
    pub(crate) token: Arc<str>,
}

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Finished; forgotten.
    Done,
    /// Failed: due again after the delay, or dead when that was the last attempt.
    Retry { after: Duration, cause: String },
    /// Dead at once.
    Abort { cause: String },
    /// Not run: due at once, no attempt counted.
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
    pub(crate) attempts: u32,
    pub(crate) cause: String,
    pub(crate) pushed_at: i64,
    pub(crate) died_at: i64,
}

#[derive(Clone)]
pub(crate) enum Store {
    Memory(Arc<Memory>),
    Redis(Arc<RedisStore>),
}

/// The same call on whichever store it is.
macro_rules! on {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        match $store {
            Store::Memory(memory) => Ok(memory.$method($($argument),*)),
            Store::Redis(redis) => redis.$method($($argument),*).await,
        }
    };
}

impl Store {
    /// Adds those whose id is not known yet; one answer per job, in order.
    pub(crate) async fn push(&self, priority: Priority, jobs: Vec<NewJob>) -> Result<Vec<Pushed>, Error> {
        on!(self, push(priority, jobs))
    }

    /// Leases up to `limit` due jobs, after putting those back whose lease has run out.
    pub(crate) async fn claim(
        &self,
        priority: Priority,
        token: &Arc<str>,
        limit: usize,
    ) -> Result<Vec<Claimed>, Error> {
        on!(self, claim(priority, token, limit))
    }

    /// Ends leases. Those that are no longer held are passed over.
    pub(crate) async fn settle(&self, priority: Priority, settlements: &[Settlement]) -> Result<(), Error> {
        on!(self, settle(priority, settlements))
    }

    /// Prolongs leases; the ids whose lease another holder has by now, or that are due again.
    pub(crate) async fn renew(&self, priority: Priority, held: &[(String, Arc<str>)]) -> Result<Vec<String>, Error> {
        on!(self, renew(priority, held))
    }

    /// How many are dead, and the `limit` latest of them as (died at, id), the latest first.
    pub(crate) async fn dead(&self, priority: Priority, limit: usize) -> Result<(u64, Vec<(i64, String)>), Error> {
        on!(self, dead(priority, limit))
    }

    /// A dead job, unless it was retried or dropped meanwhile.
    pub(crate) async fn dead_one(&self, priority: Priority, id: &str) -> Result<Option<DeadRecord>, Error> {
        on!(self, dead_one(priority, id))
    }

    /// Makes a dead job due at once with no attempts counted; as it was, or `None` when it is not dead.
    pub(crate) async fn revive(&self, priority: Priority, id: &str) -> Result<Option<DeadRecord>, Error> {
        on!(self, revive(priority, id))
    }

    pub(crate) async fn depth(&self, priority: Priority) -> Result<Depth, Error> {
        on!(self, depth(priority))
    }
}

//! Lease time, batch size, bounds and Redis namespace of a queue.

use std::time::Duration;

/// [`Options::default`] suits production.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a job stays with a worker that does not renew its lease. Workers renew three times within it; other
    /// workers take over the jobs of a killed worker once it has passed.
    pub lease: Duration,
    /// Most jobs leased in one call.
    pub batch: usize,
    /// Dead jobs kept per priority. The oldest ones above this are dropped and counted.
    pub dead_kept: usize,
    /// How long running jobs may take to finish once a worker must stop; jobs that take longer are given back.
    pub drain: Duration,
    /// First part of every Redis key, so that several installations can share one Redis database.
    pub namespace: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            batch: 64,
            dead_kept: 10_000,
            drain: Duration::from_secs(10),
            namespace: "tg".to_owned(),
        }
    }
}

//! How a queue behaves.

use std::time::Duration;

/// [`Options::default`] suits production.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a job stays with a worker that does not renew its lease. Workers renew three times as often, and the jobs of
    /// a killed worker are taken over when this time is over.
    pub lease: Duration,
    /// Most jobs leased in one call.
    pub batch: usize,
    /// Dead jobs kept per priority; the oldest are dropped and counted.
    pub dead_kept: usize,
    /// How long running jobs may take to finish once a worker is told to stop; the others are given back.
    pub drain: Duration,
    /// First part of every Redis key, so that several installations can share a database.
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

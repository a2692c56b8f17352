//! How a queue behaves.

use std::time::Duration;

/// [`Options::default`] suits production.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a job stays with a worker that no longer says it is alive. Renewed at every third of it, so a killed
    /// worker's jobs are taken over within it.
    pub lease: Duration,
    /// Most jobs taken in one call.
    pub batch: usize,
    /// Dead jobs kept per priority; the oldest make room and are counted.
    pub dead_kept: usize,
    /// What runs may take to finish once a worker is told to stop; the rest is given back.
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

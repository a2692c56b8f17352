//! How to connect, and the size of the pool.

use std::time::Duration;

/// How to connect. Each use of a connection is bounded by these.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most connections per process (and as many again to the replica).
    pub max_connections: u32,
    /// How long an operation waits for a connection before it is [`crate::Error::Unavailable`].
    pub acquire_timeout: Duration,
    /// A PostgreSQL standby, for reads that may lag.
    pub replica_url: Option<String>,
    /// Whether PostgreSQL (and its replica) are behind a pooler in transaction mode.
    pub pooler: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_connections: 10, acquire_timeout: Duration::from_millis(500), replica_url: None, pooler: false }
    }
}

/// The size of the connection pool, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// Open connections.
    pub size: u32,
    /// Open connections that are not in use.
    pub idle: u32,
    /// Most connections.
    pub max: u32,
}

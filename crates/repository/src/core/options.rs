//! How to connect, and what the connections come to.

use std::time::Duration;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections kept at most, per process (and as many again to the replica).
    pub max_connections: u32,
    /// How long an operation waits for a connection before it is [`crate::Error::Unavailable`].
    pub acquire_timeout: Duration,
    /// A PostgreSQL standby for reads that may lag.
    pub replica_url: Option<String>,
    /// PostgreSQL (and its replica) stand behind a pooler in transaction mode.
    pub pooler: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_connections: 10, acquire_timeout: Duration::from_millis(500), replica_url: None, pooler: false }
    }
}

/// The connections in use, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// Open connections.
    pub size: u32,
    /// Those nobody uses.
    pub idle: u32,
    /// The most there may be.
    pub max: u32,
}

//! How much of everything a server grants.

use std::time::Duration;

/// Most bytes of request line and headers together: a URL of 8 KiB, which a service may bound itself, leaves room for others.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most header fields: hyper's own bound, for which it has room beforehand.
pub const MAX_FIELDS: usize = 100;

/// Bounds of one server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once. For a further one the connection that has been idle longest makes way; while all are
    /// busy, it waits in the kernel's queue.
    pub max_connections: usize,
    /// Those of one address, IPv6 by /64; a further one is closed at once.
    pub max_per_address: usize,
    /// Bytes of a body. One that says it is longer is refused before the client is told to send it; one that does not say
    /// is the service's to bound.
    pub max_body_bytes: u64,
    /// From the first moment a request may begin, or its first byte, to the end of its headers.
    pub header_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// From the end of the headers until the answer is handed to the kernel: a client that does not read is cut off.
    pub answer_timeout: Duration,
    /// How long requests in flight may take once the server stops.
    pub stop_timeout: Duration,
}

//! The bounds of a server.

use std::time::Duration;

/// Most bytes of request line and headers together: room for a URL of 8 KiB, which a service
/// may bound itself, and headers.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most header fields: hyper's own bound, for which it reserves space.
pub const MAX_FIELDS: usize = 100;

/// Bounds of one server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once. To admit one more, the server closes the connection that has been idle longest;
    /// while all are busy, the new one waits in the kernel's queue.
    pub max_connections: usize,
    /// Connections per address, IPv6 by /64; a further one is closed at once.
    pub max_per_address: usize,
    /// Bytes of a body. A longer `Content-Length` is refused before the client is told to send the body; a body without
    /// one is bounded by the service.
    pub max_body_bytes: u64,
    /// From the moment a request may first begin, or its first byte, to the end of its headers.
    pub header_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// From the end of the headers until the kernel has the answer, or the next part of one that is streamed: closes a
    /// client that does not read.
    pub answer_timeout: Duration,
    /// How long requests in flight may take once the server stops.
    pub stop_timeout: Duration,
}

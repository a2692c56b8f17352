//! What whoever runs a server hears of its connections.

use std::net::IpAddr;

use crate::limits::Limits;

/// Who found no room since the last report. Not both numbers are 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnedAway {
    /// Connections closed at once because their address had as many as it may have.
    pub refused: u64,
    /// Idle connections that made way for new ones.
    pub displaced: u64,
    /// The address of the last one refused.
    pub latest: Option<IpAddr>,
    /// Connections open now.
    pub open: usize,
}

/// Told of every connection, never of a request. The list of connections is locked meanwhile: it must not wait.
pub trait ConnectionObserver: Send + Sync + 'static {
    /// One is open.
    fn opened(&self) {}

    /// One of those has ended.
    fn closed(&self) {}

    /// One was closed at once: its address had [`Limits::max_per_address`].
    fn refused(&self) {}

    /// An idle one was closed to make room for another.
    fn displaced(&self) {}

    /// At most once a minute, what the last two came to since the last time: for a log line, which an attack must not fill.
    fn turned_away(&self, those: &TurnedAway, limits: &Limits) {
        let &TurnedAway { refused, displaced, open, .. } = those;
        let (most, most_per_address) = (limits.max_connections, limits.max_per_address);
        tracing::warn!(refused, displaced, open, most, most_per_address, "connections turned away");
    }
}

/// Counts nothing.
impl ConnectionObserver for () {}

//! What the operator of a server can observe about its connections.

use std::net::IpAddr;

use crate::limits::Limits;

/// Connections that found no room since the last report. At least one of the two counts is above 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnedAway {
    /// Connections closed at once because their address was at [`Limits::max_per_address`].
    pub refused: u64,
    /// Idle connections that made way for new ones.
    pub displaced: u64,
    /// The address of the last refused connection.
    pub latest: Option<IpAddr>,
    /// Connections open now.
    pub open: usize,
}

/// Receives an event for every connection, never for a request. The list of connections is locked
/// during a call, so it must not wait.
pub trait ConnectionObserver: Send + Sync + 'static {
    /// A connection has opened.
    fn opened(&self) {}

    /// An opened connection has ended.
    fn closed(&self) {}

    /// A connection was closed at once because its address was at [`Limits::max_per_address`].
    fn refused(&self) {}

    /// An idle connection was closed to make room for another.
    fn displaced(&self) {}

    /// Called at most once a minute with the refused and displaced connections since the last call: for a log line,
    /// which an attack must not repeat without bound.
    fn turned_away(&self, those: &TurnedAway, limits: &Limits) {
        let &TurnedAway { refused, displaced, open, .. } = those;
        let (most, most_per_address) = (limits.max_connections, limits.max_per_address);
        tracing::warn!(refused, displaced, open, most, most_per_address, "connections turned away");
    }
}

/// Ignores every event except the report, which it logs.
impl ConnectionObserver for () {}

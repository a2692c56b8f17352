//! Metrics and log lines about a listener's connections.

use tollgate_domain::network::truncated;
use tollgate_http_server::{ConnectionObserver, Limits, TurnedAway};

use crate::metrics::ConnectionMetrics;

impl ConnectionObserver for ConnectionMetrics {
    fn opened(&self) {
        self.open.inc();
    }

    fn closed(&self) {
        self.open.dec();
    }

    fn refused(&self) {
        self.refused.inc();
    }

    fn displaced(&self) {
        self.displaced.inc();
    }

    fn turned_away(&self, those: &TurnedAway, limits: &Limits) {
        let &TurnedAway { refused, displaced, latest, open } = those;
        if refused > 0 {
            let (from, most) = (latest.map(truncated), limits.max_per_address);
            tracing::warn!(
                refused,
                ?from,
                open,
                most,
                "connections refused: their address has api.max_connections_per_ip"
            );
        }
        if displaced > 0 {
            let most = limits.max_connections;
            tracing::warn!(
                closed = displaced,
                open,
                most,
                "idle connections closed to make room: there are api.max_connections"
            );
        }
    }
}

//! Who found no room, said once a minute: an attack must not fill the log too.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tollgate_domain::network::truncated;

use crate::server::Limits;

const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Counts since the last line.
#[derive(Default)]
pub(crate) struct TurnedAway {
    refused: u64,
    displaced: u64,
    latest: Option<IpAddr>,
    said: Option<Instant>,
}

impl TurnedAway {
    /// A connection was closed at once because its address had as many as it may have.
    pub(crate) fn refuse(&mut self, peer: IpAddr) {
        self.refused += 1;
        self.latest = Some(peer);
    }

    /// An idle connection made way for a new one.
    pub(crate) fn displace(&mut self) {
        self.displaced += 1;
    }

    /// Writes the line if there is something to say and the last one is long ago.
    pub(crate) fn report(&mut self, now: Instant, open: usize, limits: &Limits) {
        let is_due = self.said.is_none_or(|said| now.duration_since(said) >= BETWEEN_LINES);
        if !is_due {
            return;
        }
        if self.refused > 0 {
            let (refused, most) = (self.refused, limits.max_per_address);
            let from = self.latest.map(truncated);
            tracing::warn!(
                refused,
                ?from,
                open,
                most,
                "connections refused: their address has api.max_connections_per_ip"
            );
        }
        if self.displaced > 0 {
            let (closed, most) = (self.displaced, limits.max_connections);
            tracing::warn!(closed, open, most, "idle connections closed to make room: there are api.max_connections");
        }
        if self.refused + self.displaced > 0 {
            *self = Self { said: Some(now), ..Self::default() };
        }
    }
}

//! Connections that found no room, reported once a minute, because an attack must not fill the log too.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    limits::Limits,
    observer::{ConnectionObserver, TurnedAway},
};

const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// Counts since the last report.
#[derive(Default)]
pub(crate) struct Tally {
    those: TurnedAway,
    reported: Option<Instant>,
}

impl Tally {
    pub(crate) fn refuse(&mut self, peer: IpAddr) {
        self.those.refused += 1;
        self.those.latest = Some(peer);
    }

    pub(crate) fn displace(&mut self) {
        self.those.displaced += 1;
    }

    /// Reports if there is anything to report and the last report is long enough ago.
    pub(crate) fn report(&mut self, now: Instant, open: usize, limits: &Limits, observer: &dyn ConnectionObserver) {
        let is_due = self.reported.is_none_or(|reported| now.duration_since(reported) >= BETWEEN_REPORTS);
        if is_due && self.those.refused + self.those.displaced > 0 {
            observer.turned_away(&TurnedAway { open, ..self.those }, limits);
            *self = Self { reported: Some(now), ..Self::default() };
        }
    }
}

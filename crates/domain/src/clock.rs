//! The only clock. Code that needs the time, or an id made from it, receives a [`Clock`];
//! tests pass one that they move.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::{Timestamp, Uuid};

/// Returns the time in whole microseconds, the resolution that both databases store.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Microseconds since the Unix epoch, moved only by [`Clock::advance`]. Clones share it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stays at `start` until it is advanced.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.timestamp_micros())))
    }

    /// Microseconds since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the machine's clock")]
    pub fn micros(&self) -> i64 {
        match self {
            Self::System => Utc::now().timestamp_micros(),
            Self::Manual(at) => at.load(Ordering::Acquire),
        }
    }

    /// The time, truncated to microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.micros()).unwrap_or_default()
    }

    /// A new UUIDv7 (RFC 9562) with the present time.
    pub fn new_id(&self) -> Uuid {
        let micros = self.micros().max(0).unsigned_abs();
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        Uuid::new_v7(Timestamp::from_unix_time(micros / 1_000_000, nanos, 0, 0))
    }

    /// Moves a manual clock forward. Does nothing to the machine's clock.
    pub fn advance(&self, by: TimeDelta) {
        if let Self::Manual(at) = self {
            at.fetch_add(by.num_microseconds().unwrap_or(0), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap());
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.clone().advance(TimeDelta::seconds(5));
        assert_eq!(clock.now() - before, TimeDelta::seconds(5));
    }

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let clock = Clock::manual(DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap());
        let first = clock.new_id();
        clock.advance(TimeDelta::milliseconds(1));
        assert!(first < clock.new_id());
        assert_eq!(first.get_version_num(), 7);
    }
}

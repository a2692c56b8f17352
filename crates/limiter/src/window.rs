//! The window of a limit: a fixed length aligned to the Unix epoch, or a period of the civil calendar in a time zone.
use std::time::Duration;

use crate::{
    calendar::Calendar,
    decision::whole_seconds,
    period::Period,
    time::{Timestamp, micros},
};

/// When a counter restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// A fixed length, aligned to the Unix epoch.
    Every(Duration),
    /// Every minute, hour, day, week, month or year of a time zone's calendar.
    Calendar(Calendar),
}

impl Window {
    /// A lower bound of the length of any period, µs. Of a calendar's units callers only need to know
    /// that a minute is the shortest.
    #[cfg(feature = "redis")]
    pub(crate) fn shortest(&self) -> i64 {
        match self {
            Self::Every(length) => micros(*length),
            Self::Calendar(_) => 60_000_000,
        }
    }

    /// Its length in seconds, rounded up; for a period of the calendar, its usual length.
    pub fn seconds(&self) -> u64 {
        match self {
            Self::Every(length) => whole_seconds(*length),
            Self::Calendar(calendar) => calendar.unit().usual_seconds(),
        }
    }

    /// The period that `now` is in.
    pub fn period(&self, now: Timestamp) -> Period {
        match self {
            Self::Every(length) => {
                let length = micros(*length).max(1);
                let now = now.clamped();
                let start = now - now % length;
                Period { start: Timestamp::from_micros(start), end: Timestamp::from_micros(start + length) }
            }
            Self::Calendar(calendar) => calendar.period(now),
        }
    }
}

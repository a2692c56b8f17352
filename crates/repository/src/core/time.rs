//! The stored form of times.

use chrono::{DateTime, SubsecRound, Utc};

/// Whole microseconds, as both engines store. SQLite would keep nanoseconds and then not find a row by its stored time.
pub(crate) fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

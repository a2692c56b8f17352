//! Times as both engines keep them.

use chrono::{DateTime, SubsecRound, Utc};

/// Whole microseconds: what both engines store. SQLite would keep nanoseconds and then find nothing by the stored time.
pub(crate) fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

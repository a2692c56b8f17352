//! Starts of minutes, hours, days and months in UTC, and times as both engines keep them.

use chrono::{DateTime, SubsecRound, Utc};
use tollgate_domain::BillingPeriod;

/// Whole microseconds: what both engines store. SQLite would keep nanoseconds and then find nothing by the stored time.
pub(crate) fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

pub(crate) fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    floor(at, 60)
}

pub(crate) fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    floor(at, 3_600)
}

pub(crate) fn day_of(at: DateTime<Utc>) -> DateTime<Utc> {
    floor(at, 86_400)
}

pub(crate) fn month_of(at: DateTime<Utc>) -> DateTime<Utc> {
    BillingPeriod::containing(at).start
}

fn floor(at: DateTime<Utc>, seconds: i64) -> DateTime<Utc> {
    let whole = at.timestamp().div_euclid(seconds).saturating_mul(seconds);
    DateTime::from_timestamp(whole, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_lie_at_or_before_the_moment_also_before_1970() {
        let at: DateTime<Utc> = "1969-12-31T23:59:30.5Z".parse().unwrap();
        assert_eq!(minute_of(at).to_rfc3339(), "1969-12-31T23:59:00+00:00");
        assert_eq!(hour_of(at).to_rfc3339(), "1969-12-31T23:00:00+00:00");
        assert_eq!(day_of(at).to_rfc3339(), "1969-12-31T00:00:00+00:00");
        assert_eq!(month_of(at).to_rfc3339(), "1969-12-01T00:00:00+00:00");
    }
}

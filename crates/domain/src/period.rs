//! Billing periods, which are calendar months in UTC, and the starts of minutes, hours, days and months.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use serde::Serialize;

const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_HOUR: i64 = 3_600;
const SECONDS_PER_DAY: i64 = 86_400;

/// A half-open span `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BillingPeriod {
    /// The first moment.
    pub start: DateTime<Utc>,
    /// The first moment after it.
    pub end: DateTime<Utc>,
}

impl BillingPeriod {
    /// The month that a text such as `2026-11` names.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-').filter(|(year, month)| (year.len(), month.len()) == (4, 2))?;
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let first = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
        (is_number(year) && is_number(month))
            .then(|| Self::containing(first.and_time(chrono::NaiveTime::MIN).and_utc()))
    }

    /// The calendar month that contains `at`.
    pub fn containing(at: DateTime<Utc>) -> Self {
        let first = NaiveDate::from_ymd_opt(at.year(), at.month(), 1).unwrap_or_default();
        let next = first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX);
        let midnight = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc();
        Self { start: midnight(first), end: midnight(next) }
    }
}

/// Whole minutes since the Unix epoch, rounded down.
pub fn minutes_since_epoch(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(SECONDS_PER_MINUTE)
}

/// Whole days since the Unix epoch, rounded down.
pub fn days_since_epoch(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(SECONDS_PER_DAY)
}

/// The start of this minute since the Unix epoch; the epoch if it is beyond the calendar.
pub fn start_of_minute(number: i64) -> DateTime<Utc> {
    start(number, SECONDS_PER_MINUTE)
}

/// The start of this day since the Unix epoch; the epoch if it is beyond the calendar.
pub fn start_of_day(number: i64) -> DateTime<Utc> {
    start(number, SECONDS_PER_DAY)
}

/// The start of the minute that contains `at`.
pub fn minute_of(at: DateTime<Utc>) -> DateTime<Utc> {
    start_of_minute(minutes_since_epoch(at))
}

/// Start of the minute after the one that holds `at`: from then on a changed price is in force.
pub fn next_minute(at: DateTime<Utc>) -> DateTime<Utc> {
    start_of_minute(minutes_since_epoch(at).saturating_add(1))
}

/// Start of the hour that holds `at`.
pub fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    start(at.timestamp().div_euclid(SECONDS_PER_HOUR), SECONDS_PER_HOUR)
}

/// The start of the UTC day that contains `at`.
pub fn day_of(at: DateTime<Utc>) -> DateTime<Utc> {
    start_of_day(days_since_epoch(at))
}

/// The start of the UTC month that contains `at`.
pub fn month_of(at: DateTime<Utc>) -> DateTime<Utc> {
    BillingPeriod::containing(at).start
}

fn start(number: i64, seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(number.saturating_mul(seconds), 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let december: DateTime<Utc> = "2026-12-31T23:59:59.999999Z".parse().unwrap();
        let period = BillingPeriod::containing(december);
        assert_eq!(period.start.to_rfc3339(), "2026-12-01T00:00:00+00:00");
        assert_eq!(period.end.to_rfc3339(), "2027-01-01T00:00:00+00:00");
        assert_eq!(BillingPeriod::containing(period.end).start, period.end);
    }

    #[test]
    fn starts_lie_at_or_before_the_moment_also_before_1970() {
        let at: DateTime<Utc> = "1969-12-31T23:59:30.5Z".parse().unwrap();
        assert_eq!(minute_of(at).to_rfc3339(), "1969-12-31T23:59:00+00:00");
        assert_eq!(hour_of(at).to_rfc3339(), "1969-12-31T23:00:00+00:00");
        assert_eq!(day_of(at).to_rfc3339(), "1969-12-31T00:00:00+00:00");
        assert_eq!(month_of(at).to_rfc3339(), "1969-12-01T00:00:00+00:00");
    }
}

//! Times and dates of clients: strictly RFC 3339, so that both databases store, order and compare them alike.
//!
//! chrono alone accepts more: years of five digits, fields of one digit, spaces, and leap seconds, which each
//! database stores in its own way.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Deserializer, de};

/// The years that are accepted. Beyond them, sums of times could leave the calendar.
pub const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

/// A time in a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339(pub DateTime<Utc>);

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom("must be a time such as 2026-11-01T12:00:00Z (RFC 3339)");
        parse_time(&text).map(Self).ok_or_else(wrong)
    }
}

/// Parses a time such as `2026-11-01T12:00:00Z`. None for anything else, including leap seconds.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let (head, rest) = text.as_bytes().split_at_checked(19)?;
    let digits = |b: &[u8]| b.iter().take_while(|b| b.is_ascii_digit()).count();
    let zone = match rest {
        [b'.', fraction @ ..] => fraction.get(digits(fraction).max(1)..)?,
        zone => zone,
    };
    let is_zone = matches!(zone, b"Z" | b"z") || matches_pattern(zone, b"+00:00") || matches_pattern(zone, b"-00:00");
    let is_head = matches_pattern(head, b"0000-00-00T00:00:00") || matches_pattern(head, b"0000-00-00t00:00:00");
    if !is_head || !is_zone || head.ends_with(b":60") {
        return None;
    }
    let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    YEARS.contains(&at.year()).then_some(at)
}

/// Parses a time, or a date such as `2026-11-01` as its first moment in UTC.
pub fn parse_start(text: &str) -> Option<DateTime<Utc>> {
    parse_date(text).map(midnight).or_else(|| parse_time(text))
}

/// Parses the exclusive end of a period: a time, or a date such as `2026-11-01` as the first moment after that day in
/// UTC, so that the period includes the day.
pub fn parse_end(text: &str) -> Option<DateTime<Utc>> {
    let after = |date: NaiveDate| date.checked_add_days(Days::new(1)).map(midnight);
    parse_date(text).and_then(after).or_else(|| parse_time(text))
}

fn parse_date(text: &str) -> Option<NaiveDate> {
    let date = matches_pattern(text.as_bytes(), b"0000-00-00").then(|| text.parse::<NaiveDate>().ok()).flatten()?;
    YEARS.contains(&date.year()).then_some(date)
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// Whether `text` has a digit where `pattern` has a 0, and is the same elsewhere.
fn matches_pattern(text: &[u8], pattern: &[u8]) -> bool {
    let fits = |(byte, wanted): (&u8, &u8)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == pattern.len() && text.iter().zip(pattern).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<i64> {
        parse_time(text).map(|at| at.timestamp_micros())
    }

    #[test]
    fn times_are_read_in_every_form_of_the_rfc() {
        let noon = Some(1_793_534_400_000_000);
        for text in [
            "2026-11-01T12:00:00Z",
            "2026-11-01t12:00:00z",
            "2026-11-01T12:00:00.0Z",
            "2026-11-01T13:30:00+01:30",
            "2026-11-01T04:00:00.000000-08:00",
            "2026-11-01T12:00:00-00:00",
        ] {
            assert_eq!(micros(text), noon, "{text}");
        }
        assert_eq!(micros("2026-11-01T12:00:00.25Z"), noon.map(|at| at + 250_000));
        assert_eq!(micros("2026-11-01T12:00:00.2500000000001Z"), noon.map(|at| at + 250_000));
    }

    #[test]
    fn what_is_nearly_a_time_is_none() {
        for text in [
            "",
            "2026-11-01",
            "2026-11-01T12:00:00",
            "2026-11-01T12:00Z",
            "2026-11-01 12:00:00Z",
            "2026-11-1T12:00:00Z",
            "2026-11-01T1:00:00Z",
            "02026-11-01T12:00:00Z",
            "+2026-11-01T12:00:00Z",
            "+12026-11-01T12:00:00Z",
            "12026-11-01T12:00:00Z",
            "-2026-11-01T12:00:00Z",
            "926-11-01T12:00:00Z",
            "2026-11-01T12:00:00.Z",
            "2026-11-01T12:00:00,5Z",
            "2026-11-01T12:00:00+0100",
            "2026-11-01T12:00:00+1:00",
            "2026-11-01T12:00:00+01",
            "2026-11-01T12:00:00+24:00",
            "2026-11-01T12:00:00\u{2212}01:00",
            "2026-11-01T12:00:00 Z",
            " 2026-11-01T12:00:00Z",
            "2026-11-01T12:00:00Z ",
            "2026-12-31T23:59:60Z",
            "2026-11-01T24:00:00Z",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
            "9998-12-31T23:59:59-01:00",
            "２026-11-01T12:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_period_up_to_a_date_includes_the_day_and_up_to_a_time_does_not() {
        let shown = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339());
        assert_eq!(shown(parse_start("2028-02-29")).as_deref(), Some("2028-02-29T00:00:00+00:00"));
        assert_eq!(shown(parse_end("2028-02-29")).as_deref(), Some("2028-03-01T00:00:00+00:00"));
        assert_eq!(parse_end("2028-02-29T00:00:00Z"), parse_start("2028-02-29"));
        for text in ["2028-2-29", "2027-02-29", "+2028-02-29", "12028-02-29", "2028-02-29 ", "20280229", "9999-01-01"] {
            assert_eq!((parse_start(text), parse_end(text)), (None, None), "{text}");
        }
    }
}

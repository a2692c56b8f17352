//! Bounds of the expiry of keys and tokens.

use chrono::{DateTime, Months, Utc};

use crate::Invalid;

/// Far enough for any key, and within the years that both databases and RFC 3339 can represent.
const CENTURY: Months = Months::new(1_200);

/// Adds an error unless the expiry is in the future and within 100 years.
pub fn require_future(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>, invalid: &mut Invalid) {
    let is_ahead = expires_at.is_none_or(|at| at > now && is_within_a_century(at, now));
    invalid.require(is_ahead, "/expires_at", "must lie in the future, at most 100 years from now");
}

/// Whether `at` is within 100 years of `now`, before or after it.
pub fn is_within_a_century(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let (first, last) = (now.checked_sub_months(CENTURY), now.checked_add_months(CENTURY));
    first.is_none_or(|first| first <= at) && last.is_none_or(|last| at <= last)
}

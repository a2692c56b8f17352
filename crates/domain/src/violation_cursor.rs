//! The position of a reader of violations, as an opaque text that can be part of a URL.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Datelike, Utc};

use crate::{
    rfc3339::YEARS,
    text::{CURSOR, is_plain},
    usage::ViolationRow,
};

/// The last row of a page. Its text is hexadecimal, and clients must not rely on its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolationCursor {
    /// When the last row last grew.
    pub last_at: DateTime<Utc>,
    /// The row's minute.
    pub minute: DateTime<Utc>,
    /// The row's limit.
    pub limit_name: String,
    /// The row's endpoint.
    pub endpoint: String,
}

/// The text is not a cursor of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct InvalidCursor;

impl From<&ViolationRow> for ViolationCursor {
    fn from(row: &ViolationRow) -> Self {
        Self {
            last_at: row.last_at,
            minute: row.minute,
            limit_name: row.limit_name.clone(),
            endpoint: row.endpoint.clone(),
        }
    }
}

impl fmt::Display for ViolationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (last_at, minute) = (self.last_at.timestamp_micros(), self.minute.timestamp_micros());
        // No stored text contains a NUL.
        let text = format!("{last_at}\0{minute}\0{}\0{}", self.limit_name, self.endpoint);
        text.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ViolationCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if !CURSOR.fit(text) {
            return Err(InvalidCursor);
        }
        let decoded = String::from_utf8(from_hex(text).ok_or(InvalidCursor)?).map_err(|_| InvalidCursor)?;
        let mut parts = decoded.split('\0');
        let mut part = || parts.next().ok_or(InvalidCursor);
        let time = |micros: &str| {
            let at = micros.parse().ok().and_then(DateTime::from_timestamp_micros);
            at.filter(|at| YEARS.contains(&at.year())).ok_or(InvalidCursor)
        };
        let cursor = Self {
            last_at: time(part()?)?,
            minute: time(part()?)?,
            limit_name: part()?.to_owned(),
            endpoint: part()?.to_owned(),
        };
        let is_plain = is_plain(&cursor.limit_name) && is_plain(&cursor.endpoint);
        // Accepts only the exact text that we write, so nothing is left over and no number has a second form.
        if is_plain && cursor.to_string() == text { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(limit_name: &str, endpoint: &str) -> ViolationCursor {
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        ViolationCursor { last_at: at, minute: at, limit_name: limit_name.to_owned(), endpoint: endpoint.to_owned() }
    }

    #[test]
    fn a_cursor_reads_back_and_fits_a_url() {
        for cursor in [cursor("per-hour", "GET /a?b=c&d=é%"), cursor("quota", "")] {
            let text = cursor.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert_eq!(text.parse(), Ok(cursor));
        }
    }

    #[test]
    fn texts_we_never_gave_out_are_refused() {
        let good = cursor("per-hour", "/a").to_string();
        for text in ["", "0", "zz", "é", "ff", &good[1..], &format!("{good}00"), "310031"] {
            assert_eq!(text.parse::<ViolationCursor>(), Err(InvalidCursor), "{text}");
        }
    }
}

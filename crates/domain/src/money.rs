//! Money: integer micro-units inside, decimal strings outside.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

const UNIT: i64 = 1_000_000;

/// An amount in millionths of its currency's unit. The currency is stored separately ([`crate::Prices`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub i64);

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency([u8; 3]);

/// Why a text is not an amount or a currency.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoneyError {
    /// The text is not a decimal number with at most six places, or it is too large.
    #[error("must be a decimal number with at most 6 places, such as \"12.50\"")]
    Amount,
    /// The text is not a currency code.
    #[error("must be three capital letters, such as \"USD\" (ISO 4217)")]
    Currency,
}

impl Money {
    /// `price * quantity`, saturating at the type's range.
    pub fn times(self, quantity: u64) -> Self {
        Self(i64::try_from(i128::from(self.0) * i128::from(quantity)).unwrap_or(i64::MAX))
    }

    /// Sum, saturating at the type's range.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Money {
    /// With at least two places, and no more than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let whole = self.0.unsigned_abs() / UNIT.unsigned_abs();
        let places = format!("{:06}", self.0.unsigned_abs() % UNIT.unsigned_abs());
        let kept = places.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{whole}.{}", places.get(..kept).unwrap_or(&places))
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, places) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(places) || places.len() > 6 {
            return Err(MoneyError::Amount);
        }
        let whole: i64 = whole.parse().map_err(|_| MoneyError::Amount)?;
        let places: i64 = format!("{places:0<6}").parse().map_err(|_| MoneyError::Amount)?;
        let micros = whole.checked_mul(UNIT).and_then(|w| w.checked_add(places)).ok_or(MoneyError::Amount)?;
        Ok(Self(if negative { -micros } else { micros }))
    }
}

impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Currency {
    /// The currency of a plan that sets none.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code)).ok_or(MoneyError::Currency)
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_as_they_were_written() {
        for (text, micros) in
            [("0.00", 0), ("12.50", 12_500_000), ("0.000001", 1), ("-3.10", -3_100_000), ("7.00", 7_000_000)]
        {
            assert_eq!(text.parse::<Money>().unwrap(), Money(micros));
            assert_eq!(Money(micros).to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".", "1.", ".5", "1.0000001", "1e3", "+1", "--1", "1,5", "99999999999999999999"] {
            assert_eq!(text.parse::<Money>(), Err(MoneyError::Amount), "{text}");
        }
        assert!("usd".parse::<Currency>().is_err());
        assert!("USDX".parse::<Currency>().is_err());
    }

    #[test]
    fn products_saturate_instead_of_wrapping() {
        assert_eq!(Money(i64::MAX).times(2), Money(i64::MAX));
        assert_eq!(Money(1_500).times(2_000), Money(3_000_000));
    }
}

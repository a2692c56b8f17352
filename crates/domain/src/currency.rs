//! Currencies of ISO 4217 and how many places their amounts have.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

/// A currency that things can be paid in: a code of ISO 4217 with a number of places (not gold, not the test code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Why a text is no currency.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be the code of a currency, such as \"USD\" (ISO 4217)")]
pub struct UnknownCurrency;

impl Currency {
    /// What the plans of a fresh installation are in.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// Places after the decimal point of the smallest amount that can be paid: JPY 0, USD 2, KWD 3.
    pub fn exponent(self) -> u32 {
        iso_currency::Currency::from_code(self.as_str()).and_then(|known| known.exponent()).map_or(2, u32::from)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| UnknownCurrency)?;
        let known = iso_currency::Currency::from_code(text).and_then(|known| known.exponent());
        known.map(|_| Self(code)).ok_or(UnknownCurrency)
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
    fn what_can_be_paid_is_known_with_its_places() {
        for (code, places) in [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("CLP", 0), ("KWD", 3), ("BHD", 3)] {
            assert_eq!(code.parse::<Currency>().unwrap().exponent(), places, "{code}");
        }
    }

    #[test]
    fn what_is_no_currency_is_refused() {
        for code in ["usd", "USDX", "US", "", "ZZZ", "XXX", "XAU", "XTS"] {
            assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code}");
        }
    }
}

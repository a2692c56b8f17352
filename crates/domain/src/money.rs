//! Amounts and unit prices: integers inside, decimal strings outside, no floating point anywhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

use crate::Currency;

/// An amount in millionths of its currency's unit. The currency stands next to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub i64);

/// The price of one unit in 1e-12 of its currency's unit: 0.15 per million tokens is 0.00000015, which [`Money`] cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub i128);

/// A text that is no amount or no rate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be a decimal number with at most {places} places, such as \"12.50\"")]
pub struct NotDecimal {
    /// Most places after the point.
    places: usize,
}

/// Places of [`Money`] and of [`Rate`].
const MONEY_PLACES: usize = 6;
const RATE_PLACES: usize = 12;
/// Shown at least, where no currency says otherwise.
const SHOWN_PLACES: usize = 2;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// With at least the places of the currency and no more than are needed: `1000` JPY, `29.00` USD, `0.0005` USD.
    pub fn in_currency(self, currency: Currency) -> String {
        decimal(self.0.into(), MONEY_PLACES, currency.exponent() as usize)
    }

    /// `None` beyond the type's range.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl Rate {
    /// As [`Money::in_currency`], with up to 12 places.
    pub fn in_currency(self, currency: Currency) -> String {
        decimal(self.0, RATE_PLACES, currency.exponent() as usize)
    }
}

/// `number` counts units of the last of `places`; at least `shown` of them are printed.
fn decimal(number: i128, places: usize, shown: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>1$}", number.unsigned_abs(), places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let kept = fraction.trim_end_matches('0').len().max(shown);
    match fraction.get(..kept).unwrap_or(fraction) {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

fn read(text: &str, places: usize) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > places {
        return None;
    }
    Some(sign * format!("{whole}{fraction:0<places$}").parse::<i128>().ok()?)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.0.into(), MONEY_PLACES, SHOWN_PLACES))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.0, RATE_PLACES, SHOWN_PLACES))
    }
}

impl FromStr for Money {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let micros = read(text, MONEY_PLACES).and_then(|number| i64::try_from(number).ok());
        micros.map(Self).ok_or(NotDecimal { places: MONEY_PLACES })
    }
}

impl FromStr for Rate {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        read(text, RATE_PLACES).map(Self).ok_or(NotDecimal { places: RATE_PLACES })
    }
}

macro_rules! as_text {
    ($($type:ty),+) => { $(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+ };
}
as_text!(Money, Rate);

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
        for (text, rate) in [("0.000000150000", 150_000), ("0.000000000001", 1), ("-1", -1_000_000_000_000)] {
            assert_eq!(text.parse::<Rate>().unwrap(), Rate(rate));
            assert_eq!(Rate(rate).to_string().parse::<Rate>().unwrap(), Rate(rate));
        }
    }

    #[test]
    fn an_amount_has_at_least_the_places_of_its_currency() {
        let shown = |micros, code: &str| Money(micros).in_currency(code.parse().unwrap());
        assert_eq!(shown(1_000_000_000, "JPY"), "1000");
        assert_eq!(shown(1_000_500_000, "JPY"), "1000.5");
        assert_eq!(shown(29_000_000, "USD"), "29.00");
        assert_eq!(shown(-500, "USD"), "-0.0005");
        assert_eq!(shown(18_600_000, "KWD"), "18.600");
        assert_eq!(Rate(150_000).in_currency(Currency::USD), "0.00000015");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".", "1.", ".5", "1.0000001", "1e3", "+1", "--1", "1,5", "99999999999999999999", "-"] {
            assert_eq!(text.parse::<Money>().unwrap_err().places, 6, "{text}");
        }
        for text in ["0.0000000000001", "1e-7", "9".repeat(40).as_str()] {
            assert_eq!(text.parse::<Rate>().unwrap_err().places, 12, "{text}");
        }
    }
}

//! Whole numbers in bodies. JSON has one kind of number: `5.0` is 5, and some languages write it like that.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

/// 2^53: up to here every whole number is also a floating point number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number that is at least 0.
pub(crate) fn number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole(PhantomData))
}

/// A number that is at least 0, or null. A member that may be absent also needs `default`.
pub(crate) fn optional<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_option(OrNull(PhantomData))
}

/// A number of either sign. One beyond 64 bits is the largest, so that whoever has a narrower range refuses it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signed(pub(crate) i64);

impl<'de> Deserialize<'de> for Signed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OfAnySign)
    }
}

struct OfAnySign;

impl de::Visitor<'_> for OfAnySign {
    type Value = Signed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Signed, E> {
        Ok(Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Signed, E> {
        Ok(Signed(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Signed, E> {
        if value.fract() != 0.0 || value.abs() > EXACT {
            return Err(E::invalid_value(de::Unexpected::Float(value), &self));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53 of 0")]
        Ok(Signed(value as i64))
    }
}

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<u64>> de::Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        if value.fract() != 0.0 || !(0.0..=EXACT).contains(&value) {
            return Err(E::invalid_value(de::Unexpected::Float(value), &self));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and from 0 to 2^53")]
        self.visit_u64(value as u64)
    }
}

struct OrNull<T>(PhantomData<T>);

impl<'de, T: TryFrom<u64>> de::Visitor<'de> for OrNull<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative, or null")
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        number(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        #[serde(deserialize_with = "number")]
        size: u32,
        #[serde(default, deserialize_with = "optional")]
        more: Option<u64>,
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_fraction() {
        let read = |text: &str| serde_json::from_str::<Sample>(text);
        for (text, size, more) in [
            (r#"{"size":5}"#, 5, None),
            (r#"{"size":5.0,"more":null}"#, 5, None),
            (r#"{"size":4294967295,"more":1e3}"#, u32::MAX, Some(1_000)),
            (r#"{"size":-0.0,"more":18446744073709551615}"#, 0, Some(u64::MAX)),
        ] {
            assert_eq!(read(text).unwrap(), Sample { size, more }, "{text}");
        }
        for wrong in ["5.5", "-1", "-1.0", "4294967296", "1e300", "\"5\"", "null", "true", "[]"] {
            let error = read(&format!(r#"{{"size":{wrong}}}"#)).unwrap_err().to_string();
            assert!(error.contains("expected a whole number"), "{error}");
        }
    }

    #[test]
    fn a_whole_number_of_either_sign_has_no_end() {
        let read = |text: &str| serde_json::from_str::<Signed>(text).map(|Signed(number)| number).map_err(|_| ());
        for (text, number) in [("5", 5), ("-5", -5), ("5.0", 5), ("-5e0", -5), ("18446744073709551615", i64::MAX)] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        for wrong in ["5.5", "1e300", "\"5\"", "null", "true", "[]"] {
            assert_eq!(read(wrong), Err(()), "{wrong}");
        }
    }
}

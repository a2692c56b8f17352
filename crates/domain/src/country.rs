//! Countries by their ISO 3166-1 alpha-2 codes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Invalid, invalid::read_each};

/// Most countries of a key: ISO 3166-1 has 249.
const MAX_COUNTRIES: usize = 250;

/// Two letters, read in any case and kept in capitals. Any two letters are accepted, because the
/// list of assigned codes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

/// The text is not two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be two letters (ISO 3166-1 alpha-2)")]
pub struct InvalidCountry;

impl Country {
    /// The two capital letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX")
    }
}

impl FromStr for Country {
    type Err = InvalidCountry;

    fn from_str(text: &str) -> Result<Self, InvalidCountry> {
        let code: [u8; 2] = text.as_bytes().try_into().map_err(|_| InvalidCountry)?;
        let is_code = code.iter().all(u8::is_ascii_alphabetic);
        is_code.then(|| Self(code.map(|letter| letter.to_ascii_uppercase()))).ok_or(InvalidCountry)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Country;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two letters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Country, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// Parses a list of texts. An error names each wrong one below `/allowed_countries`.
pub fn read_list(texts: &[String], invalid: &mut Invalid) -> Vec<Country> {
    read_each(texts, MAX_COUNTRIES, "/allowed_countries", invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_two_letters_in_any_case() {
        assert_eq!("de".parse::<Country>(), "DE".parse());
        assert_eq!("dE".parse::<Country>().unwrap().to_string(), "DE");
        for text in ["", "D", "DEU", "D1", "ä", "D\0", "ＤＥ"] {
            assert_eq!(text.parse::<Country>(), Err(InvalidCountry), "{text}");
        }
    }
}

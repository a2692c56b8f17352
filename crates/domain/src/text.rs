//! Text from outside: its allowed characters and lengths, checked before any store sees it.
//!
//! The two databases differ: PostgreSQL refuses a NUL, SQLite stores it. So no text may contain a NUL or any other
//! control character, wherever it occurs: in a body at any depth, a query, a path, a header, a cursor.

use std::fmt;

use serde_json::{Map, Value};

/// Bounds of a name for people.
pub const NAME: TextBounds = TextBounds::new(1, 255);
/// The rule of [`is_name`], for messages.
pub const NAMED: &str = "1 to 255 characters, not blank, no control characters";
/// Bounds of a description, or of the reason of a suspension.
pub const DESCRIPTION: TextBounds = TextBounds::new(0, 500);
/// Bounds of a tenant's own id of one of its customers.
pub const OWNER_ID: TextBounds = TextBounds::new(1, 255);
/// Bounds of a label of a key.
pub const TAG: TextBounds = TextBounds::new(1, 50);
/// Bounds of a line about what a plan offers.
pub const FEATURE: TextBounds = TextBounds::new(1, 100);
/// Bounds of an endpoint, as the caller names it.
pub const ENDPOINT: TextBounds = TextBounds::new(0, 256);
/// Bounds of an HTTP method, as the caller names it.
pub const METHOD: TextBounds = TextBounds::new(0, 32);
/// Bounds of a `User-Agent`.
pub const USER_AGENT: TextBounds = TextBounds::new(0, 1_024);
/// Bounds of a sender's own id of an event.
pub const EVENT_ID: TextBounds = TextBounds::new(1, 255);
/// Bounds of the name of an event's sender. With the longest id it fits in an entry of PostgreSQL's indexes (2,704 bytes).
pub const EVENT_SOURCE: TextBounds = TextBounds::new(0, 255);
/// Bounds of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY: TextBounds = TextBounds::new(1, 255);
/// Bounds of a key or token that a client sends: longer than any that exists.
pub const SECRET: TextBounds = TextBounds::new(0, 255);
/// Bounds of a cursor into a series: two digits for each byte of the longest endpoint and the other parts.
pub const CURSOR: TextBounds = TextBounds::new(2, 4_096);
/// Bounds of a time zone's name. The limiter knows which zones exist.
pub const TIME_ZONE: TextBounds = TextBounds::new(1, 64);
/// Bounds of a background job's id.
pub const JOB_ID: TextBounds = TextBounds::new(1, 255);
/// Bounds of a text that a list is filtered by or searched for.
pub const FILTER: TextBounds = TextBounds::new(0, 255);

/// Whether `text` has no control character (Unicode's category Cc: NUL, tabs, line ends and the
/// like, DEL, and U+0080 to U+009F).
pub fn is_plain(text: &str) -> bool {
    // Every control character begins with a byte below 0x20, with 0x7f or with 0xc2, and most
    // texts have none of those bytes.
    let may_begin_one = |byte: u8| byte < 0x20 || byte == 0x7f || byte == 0xc2;
    !text.bytes().any(may_begin_one) || !text.chars().any(char::is_control)
}

/// Whether `text` is a name for people: within its bounds and not blank.
pub fn is_name(text: &str) -> bool {
    NAME.fit(text) && !text.trim().is_empty()
}

/// Whether every name and text in it, at any depth, has no control character.
pub fn is_plain_object(object: &Map<String, Value>) -> bool {
    object.iter().all(|(name, value)| is_plain(name) && is_plain_value(value))
}

fn is_plain_value(value: &Value) -> bool {
    match value {
        Value::String(text) => is_plain(text),
        Value::Array(items) => items.iter().all(is_plain_value),
        Value::Object(members) => is_plain_object(members),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Bounds of a text's length in characters. Control characters are never allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextBounds {
    /// Fewest characters.
    pub least: usize,
    /// Most characters.
    pub most: usize,
}

impl TextBounds {
    const fn new(least: usize, most: usize) -> Self {
        Self { least, most }
    }

    /// Whether `text` is within the bounds.
    pub fn fit(self, text: &str) -> bool {
        // A text has at least as many bytes as characters.
        let is_short = text.len() <= self.most || text.chars().count() <= self.most;
        is_short
            && (text.len() >= self.least * char::MAX_LEN_UTF8 || text.chars().count() >= self.least)
            && is_plain(text)
    }

    /// Whether `text` is within the bounds or absent.
    pub fn fit_any(self, text: Option<&str>) -> bool {
        text.is_none_or(|text| self.fit(text))
    }
}

impl fmt::Display for TextBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most } = self;
        match least {
            0 => write!(f, "at most {most} characters, no control characters"),
            _ => write!(f, "{least} to {most} characters, no control characters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_control_character_is_found_wherever_it_stands_and_no_other() {
        for character in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            for text in [format!("{character}"), format!("ab{character}"), format!("é{character}日")] {
                assert_eq!(is_plain(&text), !character.is_control(), "{character:?} in {text:?}");
            }
        }
    }

    #[test]
    fn a_name_is_not_blank() {
        for (text, is) in [("a", true), (" é ", true), ("", false), ("  ", false), ("\u{2003}", false), ("a\n", false)]
        {
            assert_eq!(is_name(text), is, "{text:?}");
        }
        assert!(is_name(&"é".repeat(255)) && !is_name(&"a".repeat(256)));
    }

    #[test]
    fn an_object_is_plain_when_all_in_it_is() {
        let object = |value: Value| is_plain_object(value.as_object().unwrap());
        assert!(object(json!({"a": [1, "\\u0000", {"b": null, "": true}]})));
        for hostile in [json!({"a\0": 1}), json!({"a": "\n"}), json!({"a": [{"b": [{"c\u{7f}": 1}]}]})] {
            assert!(!object(hostile));
        }
    }

    #[test]
    fn bounds_count_characters() {
        let bounds = TextBounds::new(2, 4);
        for (text, fits) in
            [("", false), ("a", false), ("é", false), ("😀", false), ("ab", true), ("😀😀😀😀", true), ("abcde", false)]
        {
            assert_eq!(bounds.fit(text), fits, "{text}");
        }
        assert!(!bounds.fit("a\0b") && bounds.fit_any(None));
        assert_eq!(bounds.to_string(), "2 to 4 characters, no control characters");
        assert_eq!(DESCRIPTION.to_string(), "at most 500 characters, no control characters");
    }
}

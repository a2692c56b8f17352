//! Text from outside: what it may hold and how long it may be, checked here before any store sees it.
//!
//! The two databases differ in what they take: PostgreSQL refuses a NUL, SQLite keeps it. So no text holds one, nor any other
//! control character, wherever it stands: in a body at any depth, a query, a path, a header, a cursor.

use std::fmt;

use serde_json::{Map, Value};

/// A name for people.
pub const NAME: TextBounds = TextBounds::new(1, 255);
/// What a name must be; see [`is_name`].
pub const NAMED: &str = "1 to 255 characters, not blank, no control characters";
/// A description, or the reason of a suspension.
pub const DESCRIPTION: TextBounds = TextBounds::new(0, 500);
/// A tenant's own id of one of its customers.
pub const OWNER_ID: TextBounds = TextBounds::new(1, 255);
/// A label of a key.
pub const TAG: TextBounds = TextBounds::new(1, 50);
/// What a plan offers.
pub const FEATURE: TextBounds = TextBounds::new(1, 100);
/// What is called, as the caller names it.
pub const ENDPOINT: TextBounds = TextBounds::new(0, 256);
/// An HTTP method, as the caller names it.
pub const METHOD: TextBounds = TextBounds::new(0, 32);
/// Software that calls.
pub const USER_AGENT: TextBounds = TextBounds::new(0, 1_024);
/// A sender's own id of an event.
pub const EVENT_ID: TextBounds = TextBounds::new(1, 255);
/// A client's own key for a write that it may repeat.
pub const IDEMPOTENCY_KEY: TextBounds = TextBounds::new(1, 255);
/// A key or a token as its holder sends it: longer than any of ours.
pub const SECRET: TextBounds = TextBounds::new(0, 255);
/// Where a page of a series begins, as we wrote it: two digits for each byte of the longest endpoint and what goes with it.
pub const CURSOR: TextBounds = TextBounds::new(2, 4_096);
/// The name of a time zone; which there are is known elsewhere.
pub const TIME_ZONE: TextBounds = TextBounds::new(1, 64);
/// The id of a background job.
pub const JOB_ID: TextBounds = TextBounds::new(1, 255);
/// What a list is filtered by or searched for.
pub const FILTER: TextBounds = TextBounds::new(0, 255);

/// Whether `text` holds no control character: Unicode's category Cc, which is NUL, tabs and line ends, DEL, and U+0080 to
/// U+009F.
pub fn is_plain(text: &str) -> bool {
    // Every one of them begins with a byte below 0x20, with 0x7f or with 0xc2; most texts hold none of those.
    let may_begin_one = |byte: u8| byte < 0x20 || byte == 0x7f || byte == 0xc2;
    !text.bytes().any(may_begin_one) || !text.chars().any(char::is_control)
}

/// Whether `text` is a name for people: within its bounds and not blank.
pub fn is_name(text: &str) -> bool {
    NAME.fit(text) && !text.trim().is_empty()
}

/// Whether every name and text in it, at any depth, is plain.
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

/// How many characters a text may have. It never holds a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextBounds {
    /// Fewest.
    pub least: usize,
    /// Most.
    pub most: usize,
}

impl TextBounds {
    const fn new(least: usize, most: usize) -> Self {
        Self { least, most }
    }

    /// Whether `text` keeps to them.
    pub fn fit(self, text: &str) -> bool {
        // A text has at least as many bytes as characters.
        let is_short = text.len() <= self.most || text.chars().count() <= self.most;
        is_short
            && (text.len() >= self.least * char::MAX_LEN_UTF8 || text.chars().count() >= self.least)
            && is_plain(text)
    }

    /// The same for a text that may be absent.
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

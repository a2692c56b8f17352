//! Errors about a body that could not be parsed: every wrong member by its place, and what is allowed there.
//!
//! Only a refused body is examined; it is read once more, as a tree. No detail repeats a value, because a secret in the
//! wrong place would be returned and logged.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use tollgate_domain::{FieldError, text};

/// Most wrong fields named in one answer, so that an answer stays small.
const MAX_ERRORS: usize = 64;
/// Deepest nesting of objects and lists in a body; free-form members (`metadata`) need no more.
const MAX_DEPTH: usize = 32;
/// 2^64 and -2^63: whole numbers from here on are rounded.
const END_OF_U64: f64 = 18_446_744_073_709_551_616.0;
const END_OF_I64: f64 = -9_223_372_036_854_775_808.0;

/// A free-form member, read without loss: no name twice and no number rounded, at any depth up to 32.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FreeForm(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A member lies in the object that is the body.
        let mut notes = Notes { depth: 1, ..Notes::default() };
        match notes.deserialize(deserializer)? {
            _ if !notes.errors.is_empty() => Err(de::Error::custom(
                "a name stands twice, a number is too large, nesting is too deep or a text is not plain",
            )),
            Value::Object(members) => Ok(Self(members)),
            _ => Err(de::Error::custom("expected an object")),
        }
    }
}

/// Everything that prevents `body` from being a `T`; empty when it is one.
///
/// # Errors
/// When the body is not JSON.
pub(crate) fn in_body<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<FieldError>, serde_json::Error> {
    let (value, mut errors) = tree(body)?;
    for wrong in of_type::<T>(value) {
        if !is_named(&errors, &wrong.pointer) {
            errors.push(wrong);
        }
    }
    errors.truncate(MAX_ERRORS);
    Ok(errors)
}

/// `body` as a tree, and what no type of ours would take of it.
///
/// # Errors
/// When the body is not JSON.
pub(crate) fn tree(body: &[u8]) -> Result<(Value, Vec<FieldError>), serde_json::Error> {
    let mut notes = Notes::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = notes.deserialize(&mut json)?;
    json.end()?;
    Ok((value, notes.errors))
}

/// Everything that prevents `value` from being a `T`. serde stops at the first wrong field, so this removes that one and parses again until nothing new is wrong.
pub(crate) fn of_type<T: DeserializeOwned>(mut value: Value) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = Vec::new();
    while errors.len() < MAX_ERRORS {
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&value) else { break };
        let wrong = field_error(&error);
        // A required member that was removed is now missing.
        if is_named(&errors, &wrong.pointer) {
            break;
        }
        let removed = remove(&mut value, &wrong.pointer);
        errors.push(wrong);
        if !removed {
            break;
        }
    }
    errors
}

/// Whether the place `pointer`, or one inside it, already has an error.
fn is_named(errors: &[FieldError], pointer: &str) -> bool {
    let within =
        |error: &FieldError| error.pointer.strip_prefix(pointer).map(|rest| rest.is_empty() || rest.starts_with('/'));
    errors.iter().any(|error| within(error) == Some(true))
}

/// Reads any JSON and notes what no type of ours would take: a member given twice, a control character, a number that would
/// be rounded, nesting beyond [`MAX_DEPTH`].
#[derive(Default)]
struct Notes {
    /// The reader's place (RFC 6901).
    pointer: String,
    /// Objects and lists around it.
    depth: usize,
    errors: Vec<FieldError>,
}

impl Notes {
    fn note(&mut self, detail: &str) {
        if self.errors.len() < MAX_ERRORS && !self.errors.iter().any(|known| known.pointer == self.pointer) {
            self.errors.push(FieldError { pointer: self.pointer.clone(), detail: detail.into() });
        }
    }

    /// Called where an object or a list begins. serde_json itself ends the reading at 128 levels.
    fn begin(&mut self) {
        if self.depth >= MAX_DEPTH {
            self.note(&format!("nested deeper than {MAX_DEPTH} levels"));
        }
    }

    /// Reads on one level further down.
    fn below<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let here = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escaped(step));
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        self.pointer.truncate(here);
        read
    }
}

impl<'de> DeserializeSeed<'de> for &mut Notes {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Notes {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        if value >= END_OF_U64 || value <= END_OF_I64 {
            self.note("a number beyond 64 bits, which would be rounded");
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        if !text::is_plain(text) {
            self.note("no control characters");
        }
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.begin();
        let mut read = Vec::new();
        while let Some(item) = self.below(&read.len().to_string(), |notes| items.next_element_seed(notes))? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.begin();
        let mut read = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = self.below(&name, |notes| {
                if !text::is_plain(&name) {
                    notes.note("no control characters in a name");
                }
                if read.contains_key(&name) {
                    notes.note("given twice");
                }
                members.next_value_seed(notes)
            })?;
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

/// The place and the text of serde's error.
fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    use serde_path_to_error::Segment;
    let message = error.inner().to_string();
    let mut pointer = String::new();
    let mut last = String::new();
    for segment in error.path() {
        last = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } | Segment::Enum { variant: key } => escaped(key),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&last);
    }
    // serde names the field in the message, and only sometimes in the path.
    if let Some(field) = named_in(&message).map(escaped).filter(|field| *field != last) {
        pointer.push('/');
        pointer.push_str(&field);
    }
    FieldError { pointer, detail: detail(&message) }
}

/// The member that serde's message names, if any.
fn named_in(message: &str) -> Option<&str> {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return rest
            .rsplit_once("`, expected ")
            .map(|(name, _)| name)
            .or_else(|| rest.strip_suffix("`, there are no fields"));
    }
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// serde's message without the value it found.
pub(crate) fn detail(message: &str) -> String {
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    let is = |beginning: &str| message.starts_with(beginning);
    match expected {
        _ if is("missing field ") => "required".into(),
        _ if is("duplicate field ") => "given twice".into(),
        Some(names) if is("unknown field ") => format!("unknown; known are {}", list(names)),
        None if is("unknown field ") => "unknown; there are none".into(),
        Some(names) if is("unknown variant ") => format!("expected {}", list(names)),
        Some(kind) if is("invalid ") => format!("expected {}", kind_of(kind)),
        // Our own message, or that of a type which says what it accepts and not what it got.
        _ => message.into(),
    }
}

/// serde's list of names as an English list.
fn list(names: &str) -> String {
    names.trim_start_matches("one of ").replace('`', "\"")
}

/// What serde expected, in plain words.
fn kind_of(kind: &str) -> &str {
    match kind {
        "a map" => "an object",
        "a sequence" => "an array",
        "string or map" | "variant identifier" => "a string",
        kind if kind.starts_with("struct ") => "an object",
        kind => kind,
    }
}

/// A member's name, escaped for a pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Removes the member that contains `pointer` from the innermost object. False when that would be the whole body.
fn remove(value: &mut Value, pointer: &str) -> bool {
    let Some((parent, member)) = pointer.rsplit_once('/') else { return false };
    let name = member.replace("~1", "/").replace("~0", "~");
    let object = value.pointer_mut(parent).and_then(Value::as_object_mut);
    object.is_some_and(|object| object.remove(&name).is_some()) || remove(value, parent)
}

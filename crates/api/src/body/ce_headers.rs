//! The attributes of a CloudEvent in binary mode
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>, section 3.1.3).

use std::collections::BTreeMap;

use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode;
use tollgate_domain::text;
use utoipa::{
    IntoParams,
    openapi::{
        KnownFormat, ObjectBuilder, SchemaFormat,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use crate::body::problem::Problem;

const PREFIX: &str = "ce-";
/// Visible ASCII and spaces. Other characters are percent-encoded.
const ATTRIBUTE: &str = "^[ -~]*$";
/// Longest attribute in the document, in characters: an id of 255 characters of four bytes, all of them encoded. Only the size of a
/// head bounds extensions.
const LONGEST: usize = 3_060;

/// The attributes of a CloudEvent, as parameters in the document.
pub(crate) struct BinaryMode;

/// Whether the request is a CloudEvent in binary mode, unless its media type says otherwise.
pub(crate) fn is_binary_mode(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// What of the headers makes the same body another request: a line for each attribute, and one for a media type of CloudEvents.
pub(crate) fn attribute_lines(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let is_one = |name: &HeaderName, value: &HeaderValue| match name {
        name if *name == CONTENT_TYPE => value.as_bytes().to_ascii_lowercase().starts_with(b"application/cloudevents"),
        name => name.as_str().starts_with(PREFIX),
    };
    let lines = headers.iter().filter(|(name, value)| is_one(name, value));
    lines.map(|(name, value)| [b"\n", name.as_str().as_bytes(), b":", value.as_bytes()].concat()).collect()
}

/// The attributes by their names. 400 when a header occurs twice, or is no text or has a control character.
pub(crate) fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        // Some senders still quote values, as the first version of the binding did.
        let bytes = value.as_bytes();
        let bytes = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bytes);
        let text = percent_decode(bytes).decode_utf8().ok().filter(|text| text::is_plain(text));
        let text = text.ok_or_else(|| {
            Problem::bad_request(format!("{name} must be text without control characters, percent-encoded"))
        })?;
        if attributes.insert(attribute.to_owned(), text.into_owned()).is_some() {
            return Err(Problem::bad_request(format!("{name} is given twice")));
        }
    }
    Ok(attributes)
}

impl IntoParams for BinaryMode {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let plain = || text().pattern(Some(ATTRIBUTE)).min_length(Some(1)).max_length(Some(LONGEST));
        let of = |format| text().format(Some(SchemaFormat::KnownFormat(format)));
        let parameter = |name: &str, says: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .description(Some(says))
                .schema(Some(schema.build()))
                .build()
        };
        vec![
            parameter(
                "ce-specversion",
                "Of one CloudEvent in binary mode, whose body is its data: always 1.0.",
                text().enum_values(Some(["1.0"])),
            ),
            parameter("ce-id", "Its id, required in this mode.", plain()),
            parameter("ce-source", "Its source, required in this mode.", plain()),
            parameter("ce-type", "Its type, required in this mode.", plain()),
            parameter("ce-subject", "The id of the API key, required in this mode.", of(KnownFormat::Uuid)),
            parameter("ce-time", "When it happened; now unless given.", of(KnownFormat::DateTime)),
            parameter("ce-dataschema", "The schema of its data.", plain()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static [u8])]) -> Result<Vec<String>, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let read = attributes(&map).map_err(|problem| problem.render("").status().as_u16())?;
        Ok(read.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn attributes_are_percent_encoded_and_other_headers_are_none() {
        let headers: [(_, &[u8]); 5] = [
            ("ce-id", b"a b"),
            ("ce-source", b"/M%C3%BCnchen%20%F0%9F%98%80"),
            ("ce-type", b"\"quoted\""),
            ("content-type", b"application/json"),
            ("certificate", b"x"),
        ];
        assert_eq!(read(&headers), Ok(vec!["id=a b".into(), "source=/München 😀".into(), "type=quoted".into()]));
    }

    #[test]
    fn a_header_that_is_no_text_or_stands_twice_is_400() {
        for value in [&b"a\tb"[..], b"%00", b"%1F", b"%ff", b"\xff", b"%C2%85", b"\xc2\x85"] {
            let value: &'static [u8] = value;
            assert_eq!(read(&[("ce-id", value)]), Err(400), "{value:?}");
        }
        assert_eq!(read(&[("ce-id", b"1"), ("ce-id", b"1")]), Err(400));
    }
}

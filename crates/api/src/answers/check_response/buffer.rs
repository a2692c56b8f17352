//! One buffer for the whole text of an answer. Headers and body are parts of it.

use axum::body::Bytes;
use bytes::BytesMut;
use hyper::header::HeaderValue;

pub(super) fn text(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn number(out: &mut BytesMut, number: impl itoa::Integer) {
    text(out, itoa::Buffer::new().format(number));
}

/// Splits off what was written to `out` since the last call, as a header's value.
pub(super) fn header(out: &mut BytesMut) -> HeaderValue {
    let bytes: Bytes = out.split().freeze();
    // Digits and names are valid in a header.
    HeaderValue::from_maybe_shared(bytes).unwrap_or(HeaderValue::from_static(""))
}

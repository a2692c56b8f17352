//! Checks a request's head before any handler sees it, and writes the response to one that fails.

use std::{borrow::Cow, time::SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, Response, Version,
    body::Body,
    header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderValue, TRANSFER_ENCODING},
};

use crate::refusal::Refusal;

/// Refuses a request whose host or length is missing or ambiguous (RFC 9112, sections 3.2 and 6.1), and a body that is
/// too large before the client is told to send it.
pub(crate) fn check<B: Body>(request: &Request<B>, max_body_bytes: u64) -> Result<(), Refusal> {
    check_host(request.version(), request.headers())?;
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next()
        && !(encoding.as_bytes().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none())
    {
        return Err(malformed("Transfer-Encoding may only be chunked, once"));
    }
    if request.body().size_hint().lower() > max_body_bytes {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(())
}

fn malformed(why: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::Malformed(why.into())
}

fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let refusal = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => return Ok(()),
        (Some(_), None) => "Host must be a name or an address, with a port or without",
        (Some(_), Some(_)) => "Host may stand only once",
        (None, _) if version == Version::HTTP_10 => return Ok(()),
        (None, _) => "HTTP/1.1 needs the header Host",
    };
    Err(malformed(refusal))
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2), not empty.
fn is_host(text: &[u8]) -> bool {
    let in_brackets = text.first() == Some(&b'[');
    let end = if in_brackets { text.iter().position(|byte| *byte == b']').map(|at| at + 1) } else { None };
    let end = end.or_else(|| memchr::memchr(b':', text)).unwrap_or(text.len());
    let Some((host, port)) = text.split_at_checked(end) else { return false };
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte);
    let is_fine = match host {
        [b'[', address @ .., b']'] => !address.is_empty() && address.iter().all(|b| of_name(b) || *b == b':'),
        name => !name.is_empty() && name.iter().all(of_name),
    };
    is_fine && (port.is_empty() || matches!(port, [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit)))
}

/// The refusal of input that hyper could not parse; `unread` is the input that hyper had.
pub(crate) fn unreadable(error: &hyper::Error, unread: &[u8], gave_two_lengths: bool) -> Refusal {
    if error.is_parse_too_large() {
        return Refusal::HeadTooLarge { target_bytes: target_bytes(unread) };
    }
    if gave_two_lengths {
        return malformed("Content-Length and Transfer-Encoding may not stand in one request");
    }
    malformed(format!("this cannot be read as an HTTP/1.1 request: {error}"))
}

/// Length of the target in bytes that may be the beginning of a request.
fn target_bytes(unread: &[u8]) -> usize {
    let line = unread.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(1).map_or(0, <[u8]>::len)
}

/// The bytes of a connection's last response, in hyper's form.
#[expect(clippy::disallowed_methods, reason = "Date is the machine's time here as in every response that hyper writes")]
pub(crate) async fn written<B: Body<Data = Bytes>>(response: Response<B>) -> Vec<u8> {
    let (mut parts, body) = response.into_parts();
    // A refusal's body is already in memory, so reading it cannot fail.
    let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    let date = httpdate::fmt_http_date(SystemTime::now());
    parts.headers.insert(DATE, HeaderValue::from_str(&date).unwrap_or(HeaderValue::from_static("")));
    parts.headers.insert(CONTENT_LENGTH, body.len().into());
    parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(piece);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_measured_though_its_line_has_no_end() {
        for (unread, bytes) in
            [("GET /abc HTTP/1.1\r\n", 4), ("\r\nGET /abc", 4), ("GET /a\r\nx y", 3), ("GET", 0), ("", 0)]
        {
            assert_eq!(target_bytes(unread.as_bytes()), bytes, "{unread}");
        }
    }
}

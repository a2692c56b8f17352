//! Request bodies: bounded in size, time and depth, and read by serde.
//!
//! The body is read as JSON whatever `Content-Type` says. Credentials are in headers that a browser does not add by
//! itself, so a form that posts `text/plain` gains nothing, and a client that forgets the header is served.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use axum::{
    BoxError,
    body::Bytes,
    extract::{FromRequest, Request},
};
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{StatusCode, body::Body};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tollgate_domain::{FieldError, Invalid};

use crate::body::{problem::Problem, wrong_fields};

/// Largest body, in bytes (API contract).
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longest time that a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body. A missing body counts as `null`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        parse(&read(request.into_body()).await?).map(Self)
    }
}

/// Reads a whole body within its bounds.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let mut whole = pin!(whole(body));
    match soon(whole.as_mut()).await {
        Some(read) => read,
        // Boxed because it is rare and large: otherwise every request's future would reserve room for it.
        None => Box::pin(timeout(BODY_TIMEOUT, whole)).await.unwrap_or_else(|_| {
            let detail = format!("the body took longer than {} seconds", BODY_TIMEOUT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "INVALID_REQUEST", detail))
        }),
    }
}

/// Joins all frames. Nearly every body is one frame, which is then not copied.
async fn whole<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(Limited::new(body, MAX_BODY_BYTES));
    let mut read = Bytes::new();
    while let Some(frame) = body.frame().await {
        // Trailers are ignored.
        let data = frame.map_err(|error| not_whole(&error))?.into_data().unwrap_or_default();
        read = if read.is_empty() {
            data
        } else {
            let mut longer = BytesMut::from(read);
            longer.extend_from_slice(&data);
            longer.freeze()
        };
        if body.is_end_stream() {
            break;
        }
    }
    Ok(read)
}

fn not_whole(error: &BoxError) -> Problem {
    if error.is::<LengthLimitError>() {
        return body_too_large();
    }
    Problem::bad_request("the body did not arrive whole")
}

pub(crate) fn body_too_large() -> Problem {
    let detail = format!("a body may have at most {MAX_BODY_BYTES} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST", detail)
}

/// The result of `future` if it is ready at the second poll. A body that came with its headers is ready
/// by then, so no timer is needed.
async fn soon<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut looked = false;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if looked => Poll::Ready(None),
        Poll::Pending => {
            looked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Parses `T`: 400 for a body that is not JSON, 422 for wrong fields.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() { b"null" } else { body };
    if body.trim_ascii_start().first() == Some(&b'[') {
        // serde would accept an array as the fields in their order.
        return Err(Problem::invalid(vec![FieldError { pointer: String::new(), detail: "expected an object".into() }]));
    }
    match serde_json::from_slice(body) {
        Ok(read) if !has_control(body) => Ok(read),
        // serde_json calls an array where a name of a choice belongs a syntax error: only what is no JSON at all is one.
        read => Err(match (wrong_fields::in_body::<T>(body), read) {
            (Err(error), _) => Problem::bad_request(format!("the body is not JSON: {error}")),
            (Ok(errors), Err(error)) if errors.is_empty() => {
                let detail = wrong_fields::detail(&error.to_string());
                Problem::invalid(vec![FieldError { pointer: String::new(), detail }])
            }
            (Ok(errors), _) => Problem::invalid(errors),
        }),
    }
}

/// Any JSON without loss: 400 for what is not JSON; 422 for a member given twice, a control character, a number that would be
/// rounded, or too deep nesting. `pointer` is the place of the body in what is read.
pub(crate) fn tree(body: &[u8], pointer: &str) -> Result<Value, Problem> {
    let body = if body.trim_ascii().is_empty() { b"null" } else { body };
    match wrong_fields::tree(body) {
        Ok((value, errors)) if errors.is_empty() => Ok(value),
        Ok((_, errors)) => Err(Invalid { errors }.within(pointer).into()),
        Err(error) => Err(Problem::bad_request(format!("the body is not JSON: {error}"))),
    }
}

/// Whether a text in `body`, which is JSON, holds a control character: written as itself or as an escape. No byte that is
/// looked for stands outside a text there, and those below 0x20 are no JSON.
fn has_control(body: &[u8]) -> bool {
    // Nearly no body has one of these bytes. Without an early end the compiler makes this a few vector instructions.
    let may = body.iter().fold(false, |may, byte| may | matches!(byte, b'\\' | 0x7f | 0xc2));
    let mut bytes = body.iter();
    may && std::iter::from_fn(|| {
        Some(match bytes.next()? {
            b'\\' => is_control_escape(&mut bytes),
            0x7f => true,
            // UTF-8 of U+0080 to U+009F.
            0xc2 => bytes.as_slice().first().is_some_and(|next| (0x80..=0x9f).contains(next)),
            _ => false,
        })
    })
    .any(|control| control)
}

/// Whether the escape after a backslash stands for a control character.
fn is_control_escape(bytes: &mut std::slice::Iter<'_, u8>) -> bool {
    match bytes.next() {
        Some(b'b' | b'f' | b'n' | b'r' | b't') => true,
        Some(b'u') => {
            let digits = bytes.as_slice().get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
            let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            unit.and_then(char::from_u32).is_some_and(char::is_control)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        response::Response,
    };
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::body::wrong_fields::FreeForm;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is asked")]
    struct Sample {
        name: String,
        #[serde(default)]
        size: u32,
        #[serde(default)]
        inner: Vec<Inner>,
        #[serde(default)]
        free: FreeForm,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is asked")]
    struct Inner {
        window: u64,
    }

    async fn refused(body: &str) -> (u16, Value) {
        let response: Response = parse::<Sample>(body.as_bytes()).unwrap_err().render("id");
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
    }

    fn pointers(body: &Value) -> Vec<&str> {
        body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_not_json_is_400() {
        for text in ["{", "{\"name\":}", "\u{feff}{}", "{\"name\":\"\u{1}\"}", "{} {}"] {
            assert_eq!(refused(text).await.0, 400, "{text}");
        }
        assert_eq!(parse::<Sample>(b"{\"name\":\"\xff\"}").unwrap_err().render("").status(), 400);
    }

    #[tokio::test]
    async fn every_field_of_a_wrong_type_or_name_is_named_with_its_place() {
        let (status, body) =
            refused(r#"{"size":-1,"colour":"red","a/b":1,"name":5,"inner":[{"window":1},{"wndow":2}]}"#).await;
        assert_eq!(status, 422);
        let mut pointers = pointers(&body);
        pointers.sort_unstable();
        assert_eq!(pointers, ["/a~1b", "/colour", "/inner/1/window", "/inner/1/wndow", "/name", "/size"]);
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is asked")]
    struct Optional {
        number: Option<u32>,
        text: Option<String>,
        address: Option<std::net::IpAddr>,
        choice: Option<Choice>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        One,
        Other,
    }

    #[test]
    fn a_wrong_type_in_an_optional_body_is_a_wrong_field() {
        for member in ["number", "text", "address", "choice"] {
            let body = format!(r#"{{"{member}":[[[[]]]],"zzz":"/v1/orders"}}"#);
            let problem = parse::<Option<Optional>>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.render("").status(), 422, "{member}: {problem:?}");
        }
    }

    #[tokio::test]
    async fn a_member_given_twice_is_named_at_any_depth() {
        for (body, twice) in [
            (r#"{"name":"a","name":"b"}"#, vec!["/name"]),
            (r#"{"name":"a","n\u0061me":"a"}"#, vec!["/name"]),
            (r#"{"name":"a","inner":[{"window":1},{"window":1,"window":2}]}"#, vec!["/inner/1/window"]),
            (r#"{"name":"a","free":{"a":1,"b":{"c":[{"d/":1,"d/":1}]},"a":1}}"#, vec!["/free/b/c/0/d~1", "/free/a"]),
            (r#"{"name":"a","free":{},"free":{}}"#, vec!["/free"]),
            (r#"{"name":5,"size":1,"size":-1,"zzz":1,"zzz":2}"#, vec!["/size", "/zzz", "/name"]),
        ] {
            let (status, answer) = refused(body).await;
            assert_eq!((status, pointers(&answer)), (422, twice), "{body}");
            assert!(answer["detail"] != "0 fields are wrong", "{answer}");
        }
    }

    #[tokio::test]
    async fn a_number_that_would_be_rounded_is_named() {
        let sample = |number: &str| format!(r#"{{"name":"a","free":{{"a":[{number}]}}}}"#);
        for kept in ["18446744073709551615", "-9223372036854775808", "0.1", "-1.5e-7", "1e19", "0", "123456789.25"] {
            let read: Sample = parse(sample(kept).as_bytes()).unwrap();
            let FreeForm(free) = read.free;
            assert_eq!(free["a"][0], serde_json::from_str::<Value>(kept).unwrap());
        }
        for lost in ["18446744073709551616", "-9223372036854775809", "1e20", "-1e300", "123456789012345678901234567890"]
        {
            let (status, answer) = refused(&sample(lost)).await;
            assert_eq!((status, pointers(&answer)), (422, vec!["/free/a/0"]), "{lost}");
        }
    }

    #[tokio::test]
    async fn a_control_character_is_named_wherever_it_stands_and_however_it_is_written() {
        for (body, named) in [
            (r#"{"name":"a\u0000"}"#, "/name"),
            (r#"{"name":"\\\u001F"}"#, "/name"),
            (r#"{"name":"a\n"}"#, "/name"),
            ("{\"name\":\"\u{7f}\"}", "/name"),
            ("{\"name\":\"\u{85}\"}", "/name"),
            (r#"{"name":"\u009f"}"#, "/name"),
            (r#"{"name":"a","free":{"a":[{"b":"\t"}]}}"#, "/free/a/0/b"),
            (r#"{"name":"a","free":{"\u0001":1}}"#, "/free/\u{1}"),
            (r#"{"name":"a","zz\r":1}"#, "/zz\r"),
        ] {
            let (status, answer) = refused(body).await;
            assert_eq!((status, pointers(&answer)), (422, vec![named]), "{body}");
        }
        for fine in
            [r#"{"name":"\\u0000"}"#, r#"{"name":"\\n\/\"\u00e9\ud83d\ude00"}"#, "{\"name\":\"\u{a0}é\u{2028}\"}"]
        {
            assert!(parse::<Sample>(fine.as_bytes()).is_ok(), "{fine}");
        }
        for no_text in [r#"{"name":"\ud800"}"#, r#"{"name":"\udc00\ud800"}"#, r#"{"name":"a","free":{"a":"\udfff"}}"#] {
            assert_eq!(refused(no_text).await.0, 400, "{no_text}");
        }
    }

    #[tokio::test]
    async fn no_detail_repeats_a_value() {
        let secret = "tgt_admin_SECRET, expected SECRET";
        for body in [
            json!({"name": [secret], "size": secret, "inner": {"window": secret}, "free": secret}),
            json!({"name": "a", "inner": [{"window": secret}, secret, [secret]], "free": [secret]}),
            json!({"name": {"a": secret}, "size": {"a": secret}}),
            json!([secret]),
            json!(secret),
        ] {
            let (_, answer) = refused(&body.to_string()).await;
            assert!(!answer.to_string().contains("SECRET"), "{answer}");
        }
        let body = json!({"choice": secret, "number": secret, "address": secret, "text": {"a": secret}});
        let problem = parse::<Option<Optional>>(body.to_string().as_bytes()).unwrap_err();
        assert!(!format!("{problem:?}").contains("SECRET"), "{problem:?}");
        assert!(format!("{problem:?}").contains("one"), "what is allowed is named: {problem:?}");
    }

    #[tokio::test]
    async fn a_missing_field_and_a_missing_body_are_named() {
        assert_eq!(pointers(&refused("{}").await.1), ["/name"]);
        assert_eq!(pointers(&refused("").await.1), [""]);
        assert_eq!(pointers(&refused(r#"["name"]"#).await.1), [""]);
    }

    #[tokio::test]
    async fn nesting_is_bounded_and_brackets_in_strings_are_no_nesting() {
        let nested = |levels: usize| {
            format!(r#"{{"name":"[[[{{{{\"","free":{{"a":{}1{}}}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        assert!(parse::<Sample>(nested(30).as_bytes()).is_ok());
        let (status, body) = refused(&nested(31)).await;
        assert_eq!((status, pointers(&body)), (422, vec![format!("/free/a{}", "/0".repeat(30)).as_str()]));
        // What serde_json itself does not read.
        assert_eq!(refused(&nested(10_000)).await.0, 400);
        assert_eq!(refused(&r#"{"a":"#.repeat(10_000)).await.0, 400);
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_413_and_one_at_the_bound_is_read() {
        assert_eq!(read(Body::from(vec![b' '; MAX_BODY_BYTES])).await.unwrap().len(), MAX_BODY_BYTES);
        assert_eq!(read(Body::from(vec![b' '; MAX_BODY_BYTES + 1])).await.unwrap_err().render("").status(), 413);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_408() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(read(Body::from_stream(never)).await.unwrap_err().render("").status(), 408);
    }
}

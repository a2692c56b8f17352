//! Request bodies: bounded in size, time and depth, and every wrong field named.
//!
//! The body is read as JSON whatever `Content-Type` says: credentials travel in headers that a browser does not add by
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
use tollgate_domain::FieldError;

use crate::problem::Problem;

/// Largest body.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longest a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Deepest nesting; free-form members (`metadata`) need no more.
const MAX_DEPTH: usize = 32;
/// Most wrong fields named in one answer.
const MAX_ERRORS: usize = 64;

/// A JSON body. An absent body is `null`.
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
        // Boxed because it is rare and large: every request's future would have room for it.
        None => Box::pin(timeout(BODY_TIMEOUT, whole)).await.unwrap_or_else(|_| {
            let detail = format!("the body took longer than {} seconds", BODY_TIMEOUT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "INVALID_REQUEST", detail))
        }),
    }
}

/// All frames in one. Nearly every body is one frame, which is not copied then.
async fn whole<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(Limited::new(body, MAX_BODY_BYTES));
    let mut read = Bytes::new();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing to us.
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

/// What `future` comes to if that is known by the second look. A body that came with its headers is there by then, and a
/// timer need not be set for it.
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

/// Reads `T`; 400 for what is not JSON, 422 for wrong fields.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() { b"null" } else { body };
    if body.trim_ascii_start().first() == Some(&b'[') {
        // serde would take an array as the fields in their order.
        return Err(Problem::invalid(vec![FieldError { pointer: String::new(), detail: "expected an object".into() }]));
    }
    if depth(body) > MAX_DEPTH {
        return Err(Problem::bad_request(format!("the body is nested deeper than {MAX_DEPTH}")));
    }
    // serde_json calls an array where a name of a choice belongs a syntax error: only what is no JSON at all is one.
    serde_json::from_slice(body).map_err(|_| match serde_json::from_slice::<Value>(body) {
        Ok(value) => wrong_fields::<T>(value),
        Err(error) => Problem::bad_request(format!("the body is not JSON: {error}")),
    })
}

/// Deepest nesting of brackets outside strings.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// serde stops at the first wrong field: take that one out and read again until nothing new is wrong.
fn wrong_fields<T: DeserializeOwned>(mut value: Value) -> Problem {
    let mut errors: Vec<FieldError> = Vec::new();
    while errors.len() < MAX_ERRORS {
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&value) else { break };
        let wrong = field_error(&error);
        // A required member that was taken out is missing now: it, or what is in it, has been named.
        let is_known =
            |e: &FieldError| e.pointer.strip_prefix(&wrong.pointer).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        if errors.iter().any(is_known) {
            break;
        }
        let removed = remove(&mut value, &wrong.pointer);
        errors.push(wrong);
        if !removed {
            break;
        }
    }
    Problem::invalid(errors)
}

/// Where (RFC 6901) and what.
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
    // serde names the field in the message, and in the path in some cases only.
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix)?.split('`').next().map(escaped));
    if let Some(field) = named.filter(|field| *field != last) {
        pointer.push('/');
        pointer.push_str(&field);
    }
    FieldError { pointer, detail: message }
}

/// A member's name as it stands in a pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Takes out the innermost object's member that holds `pointer`. False when that would be all.
fn remove(value: &mut Value, pointer: &str) -> bool {
    let Some((parent, member)) = pointer.rsplit_once('/') else { return false };
    let name = member.replace("~1", "/").replace("~0", "~");
    let object = value.pointer_mut(parent).and_then(Value::as_object_mut);
    object.is_some_and(|object| object.remove(&name).is_some()) || remove(value, parent)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        response::Response,
    };
    use serde::Deserialize;

    use super::*;

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
        free: Value,
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
    async fn a_missing_field_and_a_missing_body_are_named() {
        assert_eq!(pointers(&refused("{}").await.1), ["/name"]);
        assert_eq!(pointers(&refused("").await.1), [""]);
        assert_eq!(pointers(&refused(r#"["name"]"#).await.1), [""]);
    }

    #[tokio::test]
    async fn nesting_is_bounded_and_brackets_in_strings_are_no_nesting() {
        let nested =
            |levels: usize| format!(r#"{{"name":"[[[{{{{\"","free":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(parse::<Sample>(nested(31).as_bytes()).is_ok());
        assert_eq!(refused(&nested(32)).await.0, 400);
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

//! Answers to requests that the service never sees: 429 and 503, as problems (RFC 9457).
use std::fmt::Write;

use ::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use ::http::{Response, StatusCode};

use crate::decision::Decision;
use crate::error::Error;
use crate::limit::Limit;

/// The registered problem type of refusals by a quota.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

pub(super) fn refused<Body: From<String>>(decision: &Decision, limits: &[Limit]) -> Response<Body> {
    let mut violated = String::new();
    for limit in decision.refused().filter_map(|status| limits.get(status.index())) {
        violated.push_str(if violated.is_empty() { "\"" } else { ",\"" });
        escape(&mut violated, limit.name());
        violated.push('"');
    }
    let (detail, retry_after) = match decision.retry_after_seconds() {
        Some(seconds) => (format!("The request may be repeated in {seconds} s."), seconds.to_string()),
        None => ("The request costs more than the limit itself allows and never fits.".to_owned(), "null".to_owned()),
    };
    problem(
        StatusCode::TOO_MANY_REQUESTS,
        format!(
            r#"{{"type":"{QUOTA_EXCEEDED}","title":"Too Many Requests","status":429,"detail":"{detail}","code":"RATE_LIMIT_EXCEEDED","violated-policies":[{violated}],"retry_after":{retry_after}}}"#
        ),
    )
}

pub(super) fn undecided<Body: From<String>>(error: &Error) -> Response<Body> {
    let Error::Unavailable { retry_after } = error else {
        let body = r#"{"type":"about:blank","title":"Internal Server Error","status":500,"code":"INTERNAL_ERROR"}"#;
        return problem(StatusCode::INTERNAL_SERVER_ERROR, body.to_owned());
    };
    let body = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The limiter's store cannot be asked.","code":"UNAVAILABLE"}"#;
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, body.to_owned());
    response.headers_mut().insert(RETRY_AFTER, retry_after.as_secs().max(1).into());
    response
}

fn problem<Body: From<String>>(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Escapes a name for the inside of a JSON string.
fn escape(text: &mut String, name: &str) {
    for char in name.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            // Writing to a String cannot fail.
            '\0'..='\u{1f}' => drop(write!(text, "\\u{:04x}", u32::from(char))),
            _ => text.push(char),
        }
    }
}

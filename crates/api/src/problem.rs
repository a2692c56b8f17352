//! Errors as the client sees them: RFC 9457 problem details with our own `code`.
//!
//! A handler returns a [`Problem`]; it travels in the response's extensions to the edge middleware, the only place that
//! knows the request's id, writes the body and logs the cause.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use tollgate_domain::FieldError;

/// RFC 9457, section 6.1.
pub(crate) const CONTENT_TYPE_PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The type of an error that its `code` and status describe (RFC 9457, section 4.2.1).
const NO_TYPE: &str = "about:blank";
/// Seconds a client should wait before it asks again for something that is down.
const RETRY_UNAVAILABLE: u64 = 1;

/// Why a request was not done.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<u64>,
    /// For the log only.
    cause: Option<String>,
}

/// The members of a problem's body; also its schema.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of `status`; `code` is one of the contract's.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None, cause: None }
    }

    /// 400: wrong as a whole.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", detail)
    }

    /// 422: these fields are wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => Cow::Owned(format!("{}: {}", one.pointer, one.detail)),
            several => Cow::Owned(format!("{} fields are wrong", several.len())),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST", detail) }
    }

    /// 404: no such route.
    pub fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this path")
    }

    /// 404: an identifier that cannot be one.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("no such {what}"))
    }

    /// 405. The router adds `Allow`.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "INVALID_REQUEST", "this path does not know the method; see Allow")
    }

    /// 500; the cause is logged and not shown.
    pub fn internal(cause: impl Into<String>) -> Self {
        let plain = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "something is wrong on our side");
        Self { cause: Some(cause.into()), ..plain }
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail).retry_after(RETRY_UNAVAILABLE)
    }

    /// Tells when to come back, in the header and in the body.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The contract's code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// For the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The response with its body; `instance` is the request's id.
    pub(crate) fn render(&self, instance: &str) -> Response {
        let body = Body {
            r#type: NO_TYPE,
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
            code: self.code,
            errors: &self.errors,
            retry_after: self.retry_after,
        };
        // Strings and numbers only: this cannot fail, and a response without a body is still the right answer.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, CONTENT_TYPE_PROBLEM);
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    async fn shown(problem: Problem) -> (Response<()>, Value) {
        let (parts, body) = problem.render("the-id").into_parts();
        let body = to_bytes(body, 1 << 16).await.unwrap();
        (Response::from_parts(parts, ()), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_our_code() {
        let (response, body) = shown(Problem::not_found("plan")).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            body,
            json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such plan",
                   "instance": "the-id", "code": "NOT_FOUND"})
        );
    }

    #[tokio::test]
    async fn every_wrong_field_is_listed() {
        let wrong = |pointer: &str| FieldError { pointer: pointer.into(), detail: "wrong".into() };
        let (response, body) = shown(Problem::invalid(vec![wrong("/tier"), wrong("/name")])).await;
        assert_eq!(response.status(), 422);
        assert_eq!(body["errors"][1], json!({"pointer": "/name", "detail": "wrong"}));
    }

    #[tokio::test]
    async fn the_cause_of_a_bug_is_not_shown() {
        let (_, body) = shown(Problem::internal("secret cause")).await;
        assert!(!body.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn what_is_down_says_when_to_come_back() {
        let (response, body) = shown(Problem::unavailable("the store is away").retry_after(7)).await;
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &HeaderValue::from(7)));
        assert_eq!(body["retry_after"], 7);
    }
}

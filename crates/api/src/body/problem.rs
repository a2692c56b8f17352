//! Errors as the client sees them: RFC 9457 problem details with our own `code`.
//!
//! A handler returns a [`Problem`]. It travels in the response's extensions to the envelope middleware, which alone
//! knows the request's id, writes the body and logs the cause.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tollgate_domain::{FieldError, Invalid};
use tollgate_service::{Error, check::outcome::whole_seconds};
use utoipa::ToSchema;

/// RFC 9457, section 6.1.
pub(crate) const CONTENT_TYPE_PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The type of an error that its `code` and status describe (RFC 9457, section 4.2.1).
const NO_TYPE: &str = "about:blank";
/// Seconds after which a client should try again when something is down.
const RETRY_UNAVAILABLE: u64 = 1;

/// Why a request failed.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<u64>,
    /// Goes to the log only.
    cause: Option<String>,
}

/// Why a request was not done (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    #[schema(example = "about:blank")]
    r#type: &'static str,
    #[schema(example = "Not Found")]
    title: &'a str,
    #[schema(example = 404)]
    status: u16,
    #[schema(example = "no such API key")]
    detail: &'a str,
    /// The request's id.
    instance: &'a str,
    #[schema(example = "NOT_FOUND")]
    code: &'static str,
    /// Every wrong field of the body.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Option<Vec<WrongField>>)]
    errors: &'a [FieldError],
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// One wrong field.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of FieldError, which knows nothing of schemas")]
pub(crate) struct WrongField {
    /// JSON Pointer (RFC 6901).
    #[schema(example = "/tier")]
    pointer: String,
    /// What is wrong and what is allowed.
    detail: String,
}

impl Problem {
    /// A problem of `status`; `code` is one of the contract's.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None, cause: None }
    }

    /// 400: the request as a whole is wrong.
    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", detail)
    }

    /// 422: these fields are wrong.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => Cow::Owned(format!("{}: {}", one.pointer, one.detail)),
            several => Cow::Owned(format!("{} fields are wrong", several.len())),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST", detail) }
    }

    /// 404: no such route.
    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this path")
    }

    /// 404: a text that cannot be an identifier.
    pub(crate) fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("no such {what}"))
    }

    /// 405. The router adds `Allow`.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "INVALID_REQUEST", "this path does not know the method; see Allow")
    }

    /// 500. The cause is logged and not shown.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let plain = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "something is wrong on our side");
        Self { cause: Some(cause.into()), ..plain }
    }

    /// 503 with `Retry-After`.
    pub(crate) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail).retry_after(RETRY_UNAVAILABLE)
    }

    /// Sets when to try again, in the header and in the body.
    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The contract's code of the problem.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The text for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    fn body<'a>(&'a self, instance: &'a str) -> Body<'a> {
        Body {
            r#type: NO_TYPE,
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
            code: self.code,
            errors: &self.errors,
            retry_after: self.retry_after,
        }
    }

    /// The members of the problem as one element of a batch.
    pub(crate) fn in_batch(&self, instance: &str) -> Result<Box<RawValue>, serde_json::Error> {
        #[derive(Serialize)]
        struct Refused<'a> {
            allowed: bool,
            #[serde(flatten)]
            problem: Body<'a>,
        }
        to_raw_value(&Refused { allowed: false, problem: self.body(instance) })
    }

    /// The response with its body; `instance` is the request's id.
    pub(crate) fn render(&self, instance: &str) -> Response {
        // Strings and numbers only, so this cannot fail. If it did, a response without a body would still be right.
        let body = serde_json::to_vec(&self.body(instance)).unwrap_or_default();
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

impl From<Invalid> for Problem {
    fn from(Invalid { errors }: Invalid) -> Self {
        Self::invalid(errors)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let of = |status, code| Self::new(status, code, detail.clone());
        match error {
            Error::Invalid(invalid) => Self::invalid(invalid.errors),
            Error::BadRequest(_) => Self::bad_request(detail),
            Error::InvalidCredential => of(StatusCode::UNAUTHORIZED, "INVALID_API_KEY"),
            Error::KeyExpired => of(StatusCode::FORBIDDEN, "API_KEY_EXPIRED"),
            Error::KeyRevoked => of(StatusCode::FORBIDDEN, "API_KEY_REVOKED"),
            Error::KeySuspended { retry_after } => {
                let problem = of(StatusCode::FORBIDDEN, "API_KEY_SUSPENDED");
                Self { retry_after: retry_after.map(whole_seconds), ..problem }
            }
            Error::IpNotAllowed => of(StatusCode::FORBIDDEN, "IP_NOT_ALLOWED"),
            Error::CountryNotAllowed => of(StatusCode::FORBIDDEN, "COUNTRY_NOT_ALLOWED"),
            Error::Forbidden(_) | Error::NotForClients | Error::Exceeds(_) => of(StatusCode::FORBIDDEN, "FORBIDDEN"),
            Error::NotFound(_) => of(StatusCode::NOT_FOUND, "NOT_FOUND"),
            Error::Conflict(_) => of(StatusCode::CONFLICT, "CONFLICT"),
            Error::CurrencyMismatch => of(StatusCode::CONFLICT, "CURRENCY_MISMATCH"),
            Error::VersionMismatch { .. } => of(StatusCode::PRECONDITION_FAILED, "CONFLICT"),
            Error::Unavailable { retry_after, .. } => {
                Self::unavailable(detail).retry_after(whole_seconds(retry_after).max(1))
            }
            Error::Internal(cause) => Self::internal(cause),
        }
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

//! A decision as an HTTP response: status, headers and body of an answered check, written in one place.

mod body;
mod buffer;
pub(crate) mod headers;

use std::borrow::Cow;

use axum::body::Bytes;
use body::Texts;
use bytes::BytesMut;
use chrono::{DateTime, SecondsFormat, Utc};
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tollgate_domain::{Algorithm, ApiKeyId, KeyStatus, LimitSpec};
use tollgate_service::{CheckOutcome, LimitStatus, check::known_key::HeldKey, config::HeaderStyle};
use utoipa::ToSchema;

use crate::{
    answers::views,
    body::problem::{CONTENT_TYPE_PROBLEM, Problem},
};
pub(crate) use body::limits_text;

/// draft-ietf-httpapi-ratelimit-headers-10, section "Quota Exceeded".
const TYPE: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const TITLE: &str = "Request cannot be satisfied as assigned quota has been exceeded";
/// Enough for the headers and the body of a key with three limits and a quota, so that the buffer does not grow.
const TEXT_BYTES: usize = 1_024;
/// The most headers of a decision, so that the map does not grow.
const MAX_HEADERS: usize = 12;

/// The answer to a check.
#[derive(Serialize, ToSchema)]
pub(crate) struct Decided<'a> {
    allowed: bool,
    /// Of the most constrained limit, as are the next three.
    #[schema(example = 1000)]
    limit: u64,
    #[schema(example = 999)]
    remaining: u64,
    /// When one unit fits, while `remaining` is 0; else when the window ends, or when the refused request fits if that is
    /// sooner.
    #[schema(value_type = DateTime<Utc>)]
    reset_time: DateTime<Utc>,
    #[schema(example = 1800)]
    reset_in_seconds: u64,
    /// Seconds until the same request would be admitted if nothing else is consumed; 0 when it was, null when it exceeds a
    /// limit itself and never will be.
    #[schema(required, example = 0)]
    retry_after: Option<u64>,
    key: KeySummary<'a>,
    limits: Vec<LimitState<'a>>,
    #[schema(required)]
    quota: Option<QuotaState>,
    /// Present when the answer came without the shared store.
    #[serde(skip_serializing_if = "is_false")]
    degraded: bool,
}

/// The answer to a refused check: the members of RFC 9457, the limits that refused, and the members of any answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refused<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    instance: &'a str,
    code: &'static str,
    #[serde(rename = "violated-policies")]
    violated_policies: Vec<&'a str>,
    #[serde(flatten)]
    decided: Decided<'a>,
}

/// Whose decision it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySummary<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: ApiKeyId,
    #[schema(example = "Checkout service")]
    name: &'a str,
    #[schema(example = "standard")]
    tier: &'a str,
    #[schema(schema_with = views::key_status)]
    status: KeyStatus,
    #[schema(required)]
    owner_id: Option<&'a str>,
}

/// Where one limit stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct LimitState<'a> {
    #[schema(example = "per-hour")]
    name: &'a str,
    #[schema(schema_with = views::algorithm)]
    algorithm: Algorithm,
    /// Most units at once: of a token bucket its burst.
    #[schema(example = 1000)]
    limit: u64,
    /// Seconds.
    #[schema(example = 3600)]
    window: u64,
    #[schema(example = 999)]
    remaining: u64,
    #[schema(example = 1800)]
    reset_in_seconds: u64,
}

/// Where the billing period's quota stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuotaState {
    #[schema(example = 100_000)]
    limit: u64,
    #[schema(example = 1)]
    used: u64,
    #[schema(example = 99_999)]
    remaining: u64,
    period_end: DateTime<Utc>,
}

impl<'a> Decided<'a> {
    fn new(outcome: &'a CheckOutcome) -> Self {
        let top = outcome.most_constrained();
        Self {
            allowed: outcome.allowed(),
            limit: top.map_or(0, LimitStatus::limit),
            remaining: top.map_or(0, LimitStatus::remaining),
            reset_time: top.map_or(outcome.at, reset_time),
            reset_in_seconds: top.map_or(0, LimitStatus::reset_after_seconds),
            retry_after: outcome.retry_after_seconds(),
            key: KeySummary::new(outcome),
            limits: limit_states(outcome),
            quota: quota_state(outcome),
            degraded: outcome.decision.degraded,
        }
    }
}

impl<'a> Refused<'a> {
    /// `instance` is the request's id.
    fn new(outcome: &'a CheckOutcome, instance: &'a str) -> Self {
        let (code, detail) = why(outcome);
        Self {
            r#type: TYPE,
            title: TITLE,
            status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
            detail,
            instance,
            code,
            violated_policies: outcome.violated().collect(),
            decided: Decided::new(outcome),
        }
    }
}

/// Code and detail of a refusal.
fn why(outcome: &CheckOutcome) -> (&'static str, Cow<'static, str>) {
    let (code, detail) = if outcome.quota_exceeded() && outcome.spend_cap_reached() {
        ("SPEND_CAP_REACHED", "the key's spend cap is reached for this billing period")
    } else if outcome.quota_exceeded() {
        ("QUOTA_EXCEEDED", "the billing period's quota is used up")
    } else {
        ("RATE_LIMIT_EXCEEDED", "a rate limit is reached; see violated-policies and retry_after")
    };
    if !outcome.decision.never_fits() {
        return (code, detail.into());
    }
    let limits = outcome.exceeded().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    (code, format!("the request never fits: it exceeds {limits} itself, so waiting does not help").into())
}

impl<'a> KeySummary<'a> {
    pub(crate) fn new(outcome: &'a CheckOutcome) -> Self {
        let key = &outcome.known_key.key;
        Self { status: key.status_at(outcome.at), ..Self::of_active(key) }
    }

    fn of_active(key: &'a HeldKey) -> Self {
        Self {
            id: key.id,
            name: &key.name,
            tier: &key.tier,
            status: KeyStatus::Active,
            owner_id: key.owner_id.as_deref(),
        }
    }
}

pub(crate) fn limit_states<'a>(outcome: &'a CheckOutcome) -> Vec<LimitState<'a>> {
    let state = |(spec, status): (&'a LimitSpec, &LimitStatus)| LimitState {
        name: &spec.name,
        algorithm: spec.algorithm,
        limit: status.limit(),
        window: spec.window_seconds(),
        remaining: status.remaining(),
        reset_in_seconds: status.reset_after_seconds(),
    };
    outcome.rate_limits().map(state).collect()
}

pub(crate) fn quota_state(outcome: &CheckOutcome) -> Option<QuotaState> {
    let status = outcome.quota()?;
    Some(QuotaState {
        limit: status.limit(),
        used: status.used(),
        remaining: status.remaining(),
        period_end: reset_time(status),
    })
}

/// When to come back, in whole seconds, rounded up.
pub(crate) fn reset_time(status: &LimitStatus) -> DateTime<Utc> {
    at_unix(status.reset_unix_seconds())
}

fn at_unix(seconds: u64) -> DateTime<Utc> {
    i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)).unwrap_or_default()
}

/// The text that serde writes for a time.
fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The body of an answered check as one element of a batch.
pub(crate) fn in_batch(outcome: &CheckOutcome, instance: &str) -> Result<Box<RawValue>, serde_json::Error> {
    if outcome.allowed() {
        to_raw_value(&Decided::new(outcome))
    } else {
        to_raw_value(&Refused::new(outcome, instance))
    }
}

/// The response to a decided check, 200 or 429; `instance` is the request's id. One buffer holds
/// the text of headers and body.
pub(crate) fn respond(
    outcome: &CheckOutcome,
    style: HeaderStyle,
    instance: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let texts = Texts::of(&outcome.known_key);
    let mut buffer = BytesMut::with_capacity(TEXT_BYTES);
    let (status, content_type) = if outcome.allowed() {
        (StatusCode::OK, HeaderValue::from_static("application/json"))
    } else {
        (StatusCode::TOO_MANY_REQUESTS, CONTENT_TYPE_PROBLEM)
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(MAX_HEADERS);
    headers.insert(CONTENT_TYPE, content_type);
    headers::insert(headers, outcome, texts.limits, style, &mut buffer);
    if !outcome.allowed()
        && let Some(seconds) = outcome.retry_after_seconds()
    {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    body::write(&mut buffer, texts, outcome, instance);
    *response.body_mut() = Full::new(buffer.freeze());
    Ok(response)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

//! Where a key stands, as response headers: `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers-10, and the older `X-RateLimit-*`.

use std::fmt::Write as _;

use axum::body::Bytes;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue, RETRY_AFTER},
};
use tollgate_service::{Checked, LimitStatus, check::whole_seconds, config::HeaderStyle};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const DEGRADED: HeaderName = HeaderName::from_static("tollgate-degraded");

/// Adds what `checked` says. `Retry-After` and `Tollgate-Degraded` do not depend on the style.
pub(crate) fn insert(headers: &mut HeaderMap, checked: &Checked, style: HeaderStyle) {
    let retry_after = checked.retry_after_seconds();
    if style.standard() {
        if let Ok(policy) = HeaderValue::from_str(&checked.entry.policy) {
            headers.insert(POLICY, policy);
        }
        if let Ok(state) = HeaderValue::from_maybe_shared(Bytes::from(state(checked, retry_after))) {
            headers.insert(STATE, state);
        }
    }
    if style.legacy()
        && let Some((_, status)) = checked.most_constrained()
    {
        headers.insert(X_LIMIT, status.limit().into());
        headers.insert(X_REMAINING, status.remaining().into());
        headers.insert(X_RESET, reset_unix(status).into());
    }
    if !checked.allowed() {
        headers.insert(RETRY_AFTER, retry_after.into());
    }
    if checked.decision.degraded {
        headers.insert(DEGRADED, HeaderValue::from_static("1"));
    }
}

/// `"per-hour";r=999;t=1800`, comma separated. A limit that refused says when it lets the cost through again if that is
/// sooner than its window's end, so that `Retry-After` is never earlier than `t`.
fn state(checked: &Checked, retry_after: u64) -> String {
    let mut text = String::with_capacity(64);
    for (spec, status) in checked.rate_limits() {
        let reset = whole_seconds(status.reset_after());
        let t = if status.is_allowed() { reset } else { reset.min(retry_after) };
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}\"{}\";r={};t={t}", spec.name, status.remaining());
    }
    text
}

/// Unix seconds of the window's end, rounded up: whoever waits until then does not come too early.
pub(crate) fn reset_unix(status: &LimitStatus) -> i64 {
    let micros = status.resets_at().as_micros();
    micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) > 0)
}

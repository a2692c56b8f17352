//! Where a key stands, as response headers: `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers-10, and the older `X-RateLimit-*`.

use bytes::BytesMut;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue, RETRY_AFTER},
};
use tollgate_service::{Checked, LimitStatus, checked::whole_seconds, config::HeaderStyle};

use crate::decided::{TermsTexts, header, number};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const DEGRADED: HeaderName = HeaderName::from_static("tollgate-degraded");

/// Adds what `checked` says, written into `buffer`. `Retry-After` and `Tollgate-Degraded` do not depend on the style.
pub(crate) fn insert(
    headers: &mut HeaderMap,
    checked: &Checked,
    texts: &TermsTexts,
    style: HeaderStyle,
    buffer: &mut BytesMut,
) {
    let retry_after = checked.retry_after_seconds();
    if style.standard() {
        if let Some(policy) = &texts.policy {
            headers.insert(POLICY, policy.clone());
        }
        state(buffer, checked, texts, retry_after);
        headers.insert(STATE, header(buffer));
    }
    if style.legacy()
        && let Some((_, status)) = checked.most_constrained()
    {
        let reset = reset_unix(status).max(0).unsigned_abs();
        for (name, value) in [(X_LIMIT, status.limit()), (X_REMAINING, status.remaining()), (X_RESET, reset)] {
            number(buffer, value);
            headers.insert(name, header(buffer));
        }
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
fn state(out: &mut BytesMut, checked: &Checked, texts: &TermsTexts, retry_after: u64) {
    for (at, ((_, status), name)) in checked.rate_limits().zip(&texts.states).enumerate() {
        let reset = whole_seconds(status.reset_after());
        let t = if status.is_allowed() { reset } else { reset.min(retry_after) };
        out.extend_from_slice(if at == 0 { b"" } else { b", " });
        out.extend_from_slice(name.as_bytes());
        number(out, status.remaining());
        out.extend_from_slice(b";t=");
        number(out, t);
    }
}

/// Unix seconds of the window's end, rounded up: whoever waits until then does not come too early.
pub(crate) fn reset_unix(status: &LimitStatus) -> i64 {
    let micros = status.resets_at().as_micros();
    micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) > 0)
}

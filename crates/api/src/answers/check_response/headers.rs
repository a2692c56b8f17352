//! Where a key stands, as response headers: `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers-10, and the older `X-RateLimit-*`. Their text is the limiter's.

use bytes::BytesMut;
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tollgate_service::{CheckOutcome, check::http_text::LimitsText, config::HeaderStyle, fields};

use super::buffer::{header, number};

const POLICY: HeaderName = HeaderName::from_static(fields::POLICY);
const STATE: HeaderName = HeaderName::from_static(fields::STATE);
const LEGACY: [HeaderName; 3] = {
    let [limit, remaining, reset] = fields::LEGACY;
    [HeaderName::from_static(limit), HeaderName::from_static(remaining), HeaderName::from_static(reset)]
};
const DEGRADED: HeaderName = HeaderName::from_static("tollgate-degraded");

/// Adds what `checked` says, written into `buffer`. `Tollgate-Degraded` does not depend on the style.
pub(crate) fn insert(
    headers: &mut HeaderMap,
    checked: &CheckOutcome,
    texts: &LimitsText,
    style: HeaderStyle,
    buffer: &mut BytesMut,
) {
    if style.standard() {
        if let Some(policy) = &texts.policy {
            headers.insert(POLICY, policy.clone());
        }
        texts.fields.write_state(buffer, checked.rate_limits().map(|(_, status)| status));
        headers.insert(STATE, header(buffer));
    }
    if style.legacy()
        && let Some(status) = checked.most_constrained()
    {
        for (name, value) in LEGACY.into_iter().zip(fields::legacy(status)) {
            number(buffer, value);
            headers.insert(name, header(buffer));
        }
    }
    if checked.decision.degraded {
        headers.insert(DEGRADED, HeaderValue::from_static("1"));
    }
}

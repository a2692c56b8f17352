//! A key's limits as response headers: `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10,
//! and the older `X-RateLimit-*`. The limiter formats their text.

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

/// Adds the headers of an outcome, written to `buffer`. `Tollgate-Degraded` is added in every style.
pub(crate) fn insert(
    headers: &mut HeaderMap,
    outcome: &CheckOutcome,
    texts: &LimitsText,
    style: HeaderStyle,
    buffer: &mut BytesMut,
) {
    if style.standard() {
        let policy = if outcome.is_throttled() { &texts.policy_beyond } else { &texts.policy };
        if let Some(policy) = policy {
            headers.insert(POLICY, policy.clone());
        }
        texts.fields.write_state(buffer, outcome.rate_limits().map(|(_, status)| status));
        headers.insert(STATE, header(buffer));
    }
    if style.legacy()
        && let Some(status) = outcome.most_constrained()
    {
        for (name, value) in LEGACY.into_iter().zip(fields::legacy(status)) {
            number(buffer, value);
            headers.insert(name, header(buffer));
        }
    }
    if outcome.decision.degraded {
        headers.insert(DEGRADED, HeaderValue::from_static("1"));
    }
}

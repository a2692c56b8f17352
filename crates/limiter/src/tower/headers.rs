//! The response fields that report a subject's limits.
use ::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::decision::Decision;
use crate::fields::{self, FieldText};

const POLICY: HeaderName = HeaderName::from_static(fields::POLICY);
const STATE: HeaderName = HeaderName::from_static(fields::STATE);
const LEGACY: [HeaderName; 3] = {
    let [limit, remaining, reset] = fields::LEGACY;
    [HeaderName::from_static(limit), HeaderName::from_static(remaining), HeaderName::from_static(reset)]
};

/// Which response fields report the limits. `Retry-After` is on every refusal for which a wait helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fields {
    /// Standard and legacy.
    #[default]
    Both,
    /// `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10.
    Standard,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (Unix seconds) of the most constrained limit.
    Legacy,
    /// None.
    Off,
}

pub(super) fn insert(headers: &mut HeaderMap, decision: &Decision, text: &FieldText, fields: Fields) {
    if matches!(fields, Fields::Both | Fields::Standard) {
        let mut state = String::new();
        text.write_state(&mut state, &decision.limits);
        set(headers, POLICY, text.policy());
        set(headers, STATE, &state);
    }
    if let (Fields::Both | Fields::Legacy, Some(status)) = (fields, decision.most_constrained()) {
        for (name, value) in LEGACY.into_iter().zip(fields::legacy(status)) {
            headers.insert(name, value.into());
        }
    }
    if let Some(wait) = decision.retry_after_seconds() {
        headers.insert(RETRY_AFTER, wait.into());
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Printable ASCII by construction.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

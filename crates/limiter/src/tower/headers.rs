//! Where a subject stands, as response fields.
use std::fmt::Write;
use std::time::Duration;

use ::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::decision::{Decision, LimitStatus};
use crate::limit::Limit;
use crate::quota::{Algorithm, Quota};
use crate::window::Window;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const OLD_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const OLD_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const OLD_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Which response fields say where a subject stands. `Retry-After` stands on every refusal.
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

pub(super) fn insert(headers: &mut HeaderMap, decision: &Decision, limits: &[Limit], fields: Fields) {
    if matches!(fields, Fields::Both | Fields::Standard) {
        set(headers, POLICY, &policies(limits));
        set(headers, STATE, &states(decision, limits));
    }
    if let (Fields::Both | Fields::Legacy, Some(status)) = (fields, decision.most_constrained()) {
        headers.insert(OLD_LIMIT, status.limit().into());
        headers.insert(OLD_REMAINING, status.remaining().into());
        let resets_at = status.resets_at().as_micros();
        headers.insert(OLD_RESET, resets_at.saturating_add(999_999).div_euclid(1_000_000).into());
    }
    if let Some(wait) = retry_after(decision) {
        headers.insert(RETRY_AFTER, wait.into());
    }
}

/// Whole seconds until a refused request may be repeated, rounded up; None when it was let through or never will be.
pub(super) fn retry_after(decision: &Decision) -> Option<u64> {
    decision.retry_after().map(|wait| seconds(wait).max(1))
}

/// `"name";q=quota;w=seconds` of every limit.
fn policies(limits: &[Limit]) -> String {
    let mut text = String::new();
    for limit in limits {
        quoted(&mut text, limit.name());
        // Writing to a String cannot fail, here and below.
        let _ = write!(text, ";q={}", limit.quota().burst());
        let _ = match seconds_of(limit.quota()) {
            Some(seconds) => write!(text, ";w={seconds}"),
            None => write!(text, ";qu=\"concurrent-requests\""),
        };
    }
    text
}

/// `"name";r=remaining;t=seconds` of every limit. One that refuses says when it will not, where that is before its window
/// ends: `Retry-After` is never earlier than that.
fn states(decision: &Decision, limits: &[Limit]) -> String {
    let mut text = String::new();
    for (limit, status) in limits.iter().zip(&decision.limits) {
        quoted(&mut text, limit.name());
        let _ = write!(text, ";r={};t={}", status.remaining(), seconds(effective(decision, status)));
    }
    text
}

fn effective(decision: &Decision, status: &LimitStatus) -> Duration {
    let wait = decision.retry_after().filter(|_| !status.is_allowed());
    wait.map_or(status.reset_after(), |wait| wait.min(status.reset_after()))
}

/// In what time the whole quota is there again; of a period of the calendar, its usual length. None: it depends on others.
fn seconds_of(quota: &Quota) -> Option<u64> {
    match (quota.algorithm(), quota.window()) {
        (Algorithm::Concurrency, _) => None,
        (Algorithm::TokenBucket, Window::Every(window)) => {
            let micros = u128::from(quota.burst()) * window.as_micros() / u128::from(quota.limit());
            Some(seconds(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))))
        }
        (_, Window::Every(window)) => Some(seconds(window)),
        (_, Window::Calendar(calendar)) => Some(calendar.unit().usual_seconds()),
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A structured-field string in a list: printable ASCII, with `"` and `\` escaped; anything else becomes `?`.
fn quoted(text: &mut String, name: &str) {
    text.push_str(if text.is_empty() { "\"" } else { ", \"" });
    for char in name.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            ' '..='~' => text.push(char),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Printable ASCII by construction.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

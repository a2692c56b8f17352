//! The text of the response fields that report a subject's limits, for any HTTP server: `RateLimit-Policy` and
//! `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10, and the older `X-RateLimit-*`.
use std::fmt::Write;

use crate::decision::{LimitStatus, whole_seconds};
use crate::limit::Limit;
use crate::quota::{Algorithm, Quota};
use crate::window::Window;

/// Name of the field with the value [`FieldText::policy`].
pub const POLICY: &str = "ratelimit-policy";
/// Name of the field whose value [`FieldText::write_state`] writes.
pub const STATE: &str = "ratelimit";
/// Names of the older fields: the size of a limit, what is left of it, and when to come back (Unix seconds).
pub const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// The part of the fields' text that is the same for every answer about the same limits.
#[derive(Debug, Clone)]
pub struct FieldText {
    policy: String,
    /// `"per-hour";r=` for each limit.
    states: Box<[String]>,
}

impl FieldText {
    /// The text for these limits, in this order.
    pub fn new<'a>(limits: impl IntoIterator<Item = &'a Limit>) -> Self {
        let (mut policy, mut states) = (String::new(), Vec::new());
        for limit in limits {
            policy.push_str(if states.is_empty() { "" } else { ", " });
            policy.push_str(&policy_of(limit));
            states.push(format!("{};r=", quoted(limit.name())));
        }
        Self { policy, states: states.into() }
    }

    /// `"per-hour";q=1000;w=3600` for every limit: at most `q` at once, all of it again in `w` seconds.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Writes `"per-hour";r=999;t=1800` for every limit: what is left, and [when to come
    /// back](LimitStatus::reset_after). The statuses must be of the same limits in the same order.
    pub fn write_state<'s>(&self, out: &mut impl Write, statuses: impl IntoIterator<Item = &'s LimitStatus>) {
        let mut digits = itoa::Buffer::new();
        for (at, (text, status)) in self.states.iter().zip(statuses).enumerate() {
            // Writing to memory cannot fail. A writer that does fail leaves no field.
            let _ = out.write_str(if at == 0 { "" } else { ", " });
            let _ = out.write_str(text);
            let _ = out.write_str(digits.format(status.remaining()));
            let _ = out.write_str(";t=");
            let _ = out.write_str(digits.format(status.reset_after_seconds()));
        }
    }
}

/// Values of the [`LEGACY`] fields, for the [most constrained](crate::Decision::most_constrained) limit.
pub fn legacy(status: &LimitStatus) -> [u64; 3] {
    [status.limit(), status.remaining(), status.reset_unix_seconds()]
}

fn policy_of(limit: &Limit) -> String {
    let (name, quota) = (quoted(limit.name()), limit.quota().burst());
    match seconds_of(limit.quota()) {
        Some(seconds) => format!("{name};q={quota};w={seconds}"),
        None => format!("{name};q={quota};qu=\"concurrent-requests\""),
    }
}

/// The time in which the whole quota is available again. None when that depends on other callers.
fn seconds_of(quota: &Quota) -> Option<u64> {
    match (quota.algorithm(), quota.window()) {
        (Algorithm::Concurrency, _) => None,
        (Algorithm::TokenBucket, Window::Every(window)) => {
            let micros = u128::from(quota.burst()) * window.as_micros() / u128::from(quota.limit());
            Some(whole_seconds(std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))))
        }
        (_, window) => Some(window.seconds()),
    }
}

/// A structured-field string: printable ASCII, with `"` and `\` escaped; anything else becomes `?`.
fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for char in name.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            ' '..='~' => text.push(char),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text
}

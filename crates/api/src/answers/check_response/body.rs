//! The body of an answered check, written around the text that is the same in every answer for a key. It
//! equals [`Decided`](super::Decided) and [`Refused`](super::Refused), in a fraction of the time that
//! serializing them takes; a test compares them.

use std::cell::RefCell;

use bytes::BytesMut;
use hyper::header::HeaderValue;
use serde::Serialize;
use tollgate_domain::LimitSpec;
use tollgate_service::{
    CheckOutcome, FieldText, KnownKey, Limit, LimitStatus,
    check::{
        effective_limits::EffectiveLimits,
        http_text::{KeyText, LimitsText},
        known_key::HeldKey,
    },
};

use super::{
    KeySummary, TITLE, TYPE,
    buffer::{number, text},
    why,
};

/// The text that is the same in every answer for a key.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub(super) limits: &'a LimitsText,
    key: &'a KeyText,
}

impl<'a> Texts<'a> {
    /// The key's and its limits' text, which is made at the first call.
    pub(super) fn of(known_key: &'a KnownKey) -> Self {
        let key = known_key.http_text.get_or_init(|| write_key_text(&known_key.key));
        Self { limits: limits_text(&known_key.counted.limits), key }
    }
}

/// The limits' text, which is made at the first call.
pub(crate) fn limits_text(limits: &EffectiveLimits) -> &LimitsText {
    limits.http_text.get_or_init(|| write_limits_text(limits))
}

fn write_limits_text(limits: &EffectiveLimits) -> LimitsText {
    let limit = |(spec, limit): (&LimitSpec, &Limit)| {
        format!(
            r#"{{"name":{},"algorithm":{},"limit":{},"window":{},"remaining":"#,
            json(&spec.name),
            json(&spec.algorithm),
            limit.quota().burst(),
            spec.window_seconds()
        )
    };
    let fields = FieldText::new(limits.rate_limits());
    let all = HeaderValue::from_str(fields.policy()).ok();
    let (policy, policy_beyond) = match limits.overage_index() {
        None => (all, None),
        Some(_) => {
            let within = FieldText::new(limits.rate_limits().take(limits.specs.len().saturating_sub(1)));
            (HeaderValue::from_str(within.policy()).ok(), all)
        }
    };
    LimitsText {
        policy,
        policy_beyond,
        fields,
        limits: limits.specs.iter().zip(limits.rate_limits()).map(limit).collect(),
    }
}

fn write_key_text(key: &HeldKey) -> KeyText {
    // Only a key that may be used gets this answer.
    KeyText(format!(r#","key":{},"limits":["#, json(&KeySummary::of_active(key))).into())
}

fn json(value: &impl Serialize) -> String {
    // Names and numbers only, so this cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// Appends the body; `instance` is the request's id.
pub(super) fn write(out: &mut BytesMut, texts: Texts<'_>, outcome: &CheckOutcome, instance: &str) {
    if outcome.allowed() {
        text(out, r#"{"allowed":true"#);
    } else {
        problem(out, outcome, instance);
        text(out, r#","allowed":false"#);
    }
    top(out, outcome);
    text(out, &texts.key.0);
    for (at, ((_, status), fixed)) in outcome.rate_limits().zip(&texts.limits.limits).enumerate() {
        text(out, if at == 0 { "" } else { "," });
        text(out, fixed);
        number(out, status.remaining());
        text(out, r#","reset_in_seconds":"#);
        number(out, status.reset_after_seconds());
        text(out, "}");
    }
    quota(out, outcome.quota());
    text(out, if outcome.decision.degraded { r#","degraded":true}"# } else { "}" });
}

/// The members of RFC 9457 and the limits that refused.
fn problem(out: &mut BytesMut, outcome: &CheckOutcome, instance: &str) {
    let (code, detail) = why(outcome);
    for part in [r#"{"type":""#, TYPE, r#"","title":""#, TITLE, r#"","status":429,"detail":"#] {
        text(out, part);
    }
    text(out, &json(&detail));
    text(out, r#","instance":"#);
    text(out, &json(&instance));
    for part in [r#","code":""#, code, r#"","violated-policies":["#] {
        text(out, part);
    }
    for (at, name) in outcome.violated().enumerate() {
        text(out, if at == 0 { "" } else { "," });
        text(out, &json(&name));
    }
    text(out, "]");
}

/// The most constrained limit's members, and when to come back.
fn top(out: &mut BytesMut, outcome: &CheckOutcome) {
    let top = outcome.most_constrained();
    text(out, r#","limit":"#);
    number(out, top.map_or(0, LimitStatus::limit));
    text(out, r#","remaining":"#);
    number(out, top.map_or(0, LimitStatus::remaining));
    text(out, r#","reset_time":""#);
    match top {
        Some(status) => seconds(out, Recent::Reset, status.reset_unix_seconds()),
        None => text(out, &super::rfc3339(outcome.at)),
    }
    text(out, r#"","reset_in_seconds":"#);
    number(out, top.map_or(0, LimitStatus::reset_after_seconds));
    text(out, r#","retry_after":"#);
    match outcome.retry_after_seconds() {
        Some(seconds) => number(out, seconds),
        None => text(out, "null"),
    }
}

fn quota(out: &mut BytesMut, status: Option<&LimitStatus>) {
    let Some(status) = status else { return text(out, r#"],"quota":null"#) };
    text(out, r#"],"quota":{"limit":"#);
    number(out, status.limit());
    text(out, r#","used":"#);
    number(out, status.used());
    text(out, r#","remaining":"#);
    number(out, status.remaining());
    text(out, r#","period_end":""#);
    seconds(out, Recent::PeriodEnd, status.reset_unix_seconds());
    text(out, r#""}"#);
}

/// The member that a time is for. Times of each kind repeat, because the windows of most keys end together.
#[derive(Clone, Copy)]
enum Recent {
    Reset,
    PeriodEnd,
}

/// Appends a time of whole Unix seconds as RFC 3339. Keeps the last text of each kind, because formatting a date
/// takes longer than a decision.
fn seconds(out: &mut BytesMut, kind: Recent, unix: u64) {
    thread_local! {
        static LAST: RefCell<[(u64, String); 2]> = const { RefCell::new([(u64::MAX, String::new()), (u64::MAX, String::new())]) };
    }
    LAST.with_borrow_mut(|[reset, period_end]| {
        let last = match kind {
            Recent::Reset => reset,
            Recent::PeriodEnd => period_end,
        };
        if last.0 != unix {
            *last = (unix, super::rfc3339(super::at_unix(unix)));
        }
        text(out, &last.1);
    });
}

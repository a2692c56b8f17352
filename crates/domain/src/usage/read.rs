//! The results of reading usage, and usage that other systems metered.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ApiKeyId,
    period::{day_of, hour_of, month_of},
};

/// The length of a series' buckets, which begin on whole hours, days or months in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// 60 minutes.
    Hourly,
    /// 24 hours.
    #[default]
    Daily,
    /// A calendar month.
    Monthly,
}

impl Granularity {
    /// The start of the bucket that contains `at`.
    pub fn bucket_of(self, at: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Hourly => hour_of(at),
            Self::Daily => day_of(at),
            Self::Monthly => month_of(at),
        }
    }
}

/// A key's units, both admitted and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageStats {
    /// Since the key was created.
    pub total_requests: i64,
    /// In the calendar month, UTC.
    pub requests_this_month: i64,
    /// Since midnight, UTC.
    pub requests_today: i64,
    /// Time of the last decision.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Units of a key that another system metered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    /// Who sent it; empty: not named.
    pub source: String,
    /// Unique within the tenant and the source; a repeat is not counted.
    pub id: String,
    /// The key that was used.
    pub api_key_id: ApiKeyId,
    /// When it was used; determines minute, day and billing period.
    pub at: DateTime<Utc>,
    /// The number of units, not negative.
    pub units: i64,
    /// The endpoint, as the sender names it.
    pub endpoint: Option<String>,
    /// SHA-256 of what was sent, by which a repeat differs from another event under the same id.
    pub payload_hash: [u8; 32],
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOutcome {
    /// Whether it was counted.
    pub result: EventResult,
    /// Whether the period in which it counts was closed already. Never with a conflict.
    pub period_closed: bool,
}

/// Whether an event was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// Now, in this call.
    Accepted,
    /// Before: in an earlier call, or earlier in this one.
    Duplicate,
    /// Not at all, because another event was counted under its source and id.
    Conflict,
}

//! What is asked of usage and read from it, and usage that was metered elsewhere.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    ApiKeyId,
    period::{day_of, hour_of, month_of},
};

/// The length of a series' buckets, which start on whole hours, days or months in UTC.
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
    /// The bucket that holds `at`, by its start.
    pub fn bucket_of(self, at: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Hourly => hour_of(at),
            Self::Daily => day_of(at),
            Self::Monthly => month_of(at),
        }
    }
}

/// A key's units, admitted and refused for whatever reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageStats {
    /// Ever.
    pub total_requests: i64,
    /// In the calendar month, UTC.
    pub requests_this_month: i64,
    /// Since midnight, UTC.
    pub requests_today: i64,
    /// The last decision.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Units that a key used somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    /// Unique within the tenant.
    pub id: String,
    /// Which key.
    pub api_key_id: ApiKeyId,
    /// When it happened; decides minute, day and billing period.
    pub at: DateTime<Utc>,
    /// How much, not negative.
    pub units: i64,
    /// As the sender names it.
    pub endpoint: Option<String>,
}

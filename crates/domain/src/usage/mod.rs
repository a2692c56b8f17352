//! Usage of keys: the sums that go from a node's journal to the database.
//!
//! A batch covers the journal of one boot from one position to another and moves that journal's cursor. Applied a
//! second time, it changes nothing.

mod fold_part;
mod packed;
mod read;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, BootId, TenantId};

pub use fold_part::FoldPart;
pub use read::{EventOutcome, EventResult, Granularity, UsageEvent, UsageStats};

pub use packed::{ALL_BUCKETS, BUCKETS, PackedUsage, Unreadable, UsageChunk, bucket_of, pack};

/// Units by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Admitted: counted by the period's quota and by the bill.
    pub allowed: i64,
    /// Refused by a limit.
    pub rate_limited: i64,
    /// Refused because the period's quota was used up.
    pub quota_exceeded: i64,
    /// Refused because of the key's state or the caller's address.
    pub rejected: i64,
}

impl Counts {
    /// All requested units, whatever their outcome.
    pub fn requests(&self) -> i64 {
        self.allowed.saturating_add(self.refused()).saturating_add(self.rejected)
    }

    /// Units refused by a limit or the quota.
    pub fn refused(&self) -> i64 {
        self.rate_limited.saturating_add(self.quota_exceeded)
    }

    /// Adds `other`, saturating.
    pub fn add(&mut self, other: &Self) {
        self.allowed = self.allowed.saturating_add(other.allowed);
        self.rate_limited = self.rate_limited.saturating_add(other.rate_limited);
        self.quota_exceeded = self.quota_exceeded.saturating_add(other.quota_exceeded);
        self.rejected = self.rejected.saturating_add(other.rejected);
    }
}

/// The two readers of a journal, each with its own cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalStream {
    /// Usage, which is billed.
    Usage,
    /// Violations.
    Violations,
}

impl JournalStream {
    /// The name that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Violations => "violations",
        }
    }
}

/// A span of one journal, from the position `from` up to `to`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSpan {
    /// The boot that wrote the journal.
    pub boot: BootId,
    /// Where the cursor must be for the batch to apply.
    pub from: u64,
    /// Where the cursor is afterwards.
    pub to: u64,
}

/// The usage of one key in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// The key's tenant.
    pub tenant_id: TenantId,
    /// The key.
    pub api_key_id: ApiKeyId,
    /// Usage per minute; each minute once.
    pub minutes: Vec<MinuteUsage>,
    /// Usage per day and endpoint; each pair once.
    pub endpoints: Vec<EndpointUsage>,
}

/// A key's minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteUsage {
    /// The start of the minute, UTC.
    pub minute: DateTime<Utc>,
    /// Units by outcome in this minute.
    pub counts: Counts,
    /// The last decision counted here.
    pub last_at: DateTime<Utc>,
}

/// A key's usage of one endpoint on one day, for "top endpoints".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUsage {
    /// The start of the day, UTC.
    pub day: DateTime<Utc>,
    /// The endpoint, as the client named it.
    pub endpoint: Arc<str>,
    /// Units admitted.
    pub allowed: i64,
}

/// Sums of a span of a journal, for the job that adds them to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBatch {
    /// The part of the journal that the sums cover.
    pub span: JournalSpan,
    /// The usage of keys in that span.
    pub chunks: Vec<UsageChunk>,
}

impl UsageBatch {
    /// Units admitted in it.
    ///
    /// # Errors
    /// When a chunk cannot be read.
    pub fn units(&self) -> Result<i64, Unreadable> {
        let mut units = 0_i64;
        for chunk in &self.chunks {
            let usage = chunk.rows.unpack()?;
            let minutes = usage.iter().flat_map(|usage| &usage.minutes);
            units = minutes.fold(units, |sum, row| sum.saturating_add(row.counts.allowed));
        }
        Ok(units)
    }
}

/// Refusals of one key by one limit at one endpoint from one address in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationRow {
    /// The key's tenant.
    pub tenant_id: TenantId,
    /// The key.
    pub api_key_id: ApiKeyId,
    /// Name of the limit that refused, or `quota`.
    pub limit_name: String,
    /// The endpoint, as the client named it; empty when it named none.
    pub endpoint: String,
    /// The start of the minute, UTC.
    pub minute: DateTime<Utc>,
    /// The last address seen; empty when unknown.
    pub ip_address: String,
    /// Number of refusals.
    pub count: i64,
    /// Time of the first refusal.
    pub first_at: DateTime<Utc>,
    /// Time of the last refusal.
    pub last_at: DateTime<Utc>,
}

/// Sums of a span of a journal, for the job that records violations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationBatch {
    /// The part of the journal that the sums cover.
    pub span: JournalSpan,
    /// Sorted by key, limit, endpoint and minute; each row once.
    pub rows: Vec<ViolationRow>,
}

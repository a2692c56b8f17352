//! What keys did: the sums that travel from a node's journal to the database.
//!
//! A batch covers the journal of one boot from one position to another and moves that journal's cursor; applied twice
//! it changes nothing the second time.

mod fold_part;
mod packed;
mod read;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, BootId, TenantId};

pub use fold_part::FoldPart;
pub use read::{Granularity, UsageEvent, UsageStats};

pub use packed::{ALL_BUCKETS, BUCKETS, PackedUsage, Unreadable, UsageChunk, bucket_of, pack};

/// Units by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Admitted: what a period's quota and bill count.
    pub allowed: i64,
    /// Refused by a limit.
    pub rate_limited: i64,
    /// Refused because the period's quota was used up.
    pub quota_exceeded: i64,
    /// Refused for the key's state or the caller's address.
    pub rejected: i64,
}

impl Counts {
    /// All units that were asked for, whatever became of them.
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

/// Which of the two readers of a journal a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalStream {
    /// Usage and what is billed.
    Usage,
    /// Violations.
    Violations,
}

impl JournalStream {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Violations => "violations",
        }
    }
}

/// A span of one journal: `from` (exclusive of nothing) up to `to`, both byte positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalSpan {
    /// Whose journal.
    pub boot: BootId,
    /// Where the cursor must stand for the batch to apply.
    pub from: u64,
    /// Where it stands afterwards.
    pub to: u64,
}

/// What one key did in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// Whose key.
    pub tenant_id: TenantId,
    /// Which key.
    pub api_key_id: ApiKeyId,
    /// Each minute once.
    pub minutes: Vec<MinuteUsage>,
    /// Each day and endpoint once.
    pub endpoints: Vec<EndpointUsage>,
}

/// A key's minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteUsage {
    /// Its start, UTC.
    pub minute: DateTime<Utc>,
    /// What was counted.
    pub counts: Counts,
    /// The last decision counted here.
    pub last_at: DateTime<Utc>,
}

/// A key's day at one endpoint: for "top endpoints".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUsage {
    /// Start of the day, UTC.
    pub day: DateTime<Utc>,
    /// As the client named it.
    pub endpoint: Arc<str>,
    /// Units admitted.
    pub allowed: i64,
}

/// Sums of a span of a journal, for the job that brings them to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBatch {
    /// Which part of which journal.
    pub span: JournalSpan,
    /// What keys did there.
    pub chunks: Vec<UsageChunk>,
}

/// Refusals of one key by one limit at one endpoint from one address in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationRow {
    /// Whose key.
    pub tenant_id: TenantId,
    /// Which key.
    pub api_key_id: ApiKeyId,
    /// Name of the limit that refused, or `quota`.
    pub limit_name: String,
    /// As the client named it; empty when it did not.
    pub endpoint: String,
    /// Start of the minute, UTC.
    pub minute: DateTime<Utc>,
    /// The last address seen; empty when unknown.
    pub ip_address: String,
    /// How many refusals.
    pub count: i64,
    /// The first refusal.
    pub first_at: DateTime<Utc>,
    /// The last refusal.
    pub last_at: DateTime<Utc>,
}

/// Sums of a span of a journal, for the job that records violations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationBatch {
    /// Which part of which journal.
    pub span: JournalSpan,
    /// Sorted by key, limit, endpoint and minute, each once.
    pub rows: Vec<ViolationRow>,
}

//! What keys did: the sums that travel from a node's journal to the database.
//!
//! A batch covers the journal of one boot from one position to another and moves that journal's cursor; applied twice
//! it changes nothing the second time.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, BootId, TenantId};

/// Sums of one key in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Units admitted: what a period's quota and bill count.
    pub allowed: i64,
    /// Requests refused by a limit.
    pub rate_limited: i64,
    /// Requests refused because the period's quota was used up.
    pub quota_exceeded: i64,
    /// Requests refused for the key's state or the caller's address.
    pub rejected: i64,
}

impl Counts {
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

/// One key and minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// Whose key.
    pub tenant_id: TenantId,
    /// Which key.
    pub api_key_id: ApiKeyId,
    /// Start of the minute, UTC.
    pub minute: DateTime<Utc>,
    /// What was counted.
    pub counts: Counts,
    /// The last decision counted here.
    pub last_at: DateTime<Utc>,
}

/// One key, UTC day and endpoint: for "top endpoints".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Whose key.
    pub tenant_id: TenantId,
    /// Which key.
    pub api_key_id: ApiKeyId,
    /// Start of the day, UTC.
    pub day: DateTime<Utc>,
    /// As the client named it.
    pub endpoint: String,
    /// Units admitted.
    pub allowed: i64,
}

/// Sums of a span of a journal, for the job that adds them to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBatch {
    /// Which part of which journal.
    pub span: JournalSpan,
    /// Sorted by key and minute, each once.
    pub usage: Vec<UsageRow>,
    /// Sorted, each once.
    pub endpoints: Vec<EndpointRow>,
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

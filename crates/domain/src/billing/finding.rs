//! What a reconciliation found: two figures that should be one. Nothing is repaired silently.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Units that all journals brought, with those of all periods.
    Journal,
    /// A period's units, with those of its segments.
    Segments,
    /// A period's units, with those of its days.
    Days,
    /// A day's units, with those of its hours.
    Hours,
    /// A day's units, with those of its minutes, where these are kept.
    Minutes,
    /// A period's units, with those that records bill.
    RecordUnits,
    /// A record's total, with the sum of its lines.
    RecordLines,
    /// A record's digest, with that of what it holds.
    Digest,
}

/// Whether somebody has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    /// Nobody has.
    Open,
    /// Somebody has.
    Acknowledged,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its id.
    pub id: Uuid,
    /// What was compared.
    pub kind: FindingKind,
    /// The key or the record; empty: all journals.
    pub subject: String,
    /// The start of the period, or of the day.
    pub period_start: Option<DateTime<Utc>>,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub actual: String,
    /// When it was found first.
    pub found_at: DateTime<Utc>,
    /// Whether somebody has seen it.
    pub status: FindingStatus,
    /// What they say about it.
    pub note: Option<String>,
}

/// Members that are `None` leave all findings in.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the members are those of Finding")]
pub struct FindingFilter {
    pub kind: Option<FindingKind>,
    pub status: Option<FindingStatus>,
}

impl FindingKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Journal,
        Self::Segments,
        Self::Days,
        Self::Hours,
        Self::Minutes,
        Self::RecordUnits,
        Self::RecordLines,
        Self::Digest,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Segments => "segments",
            Self::Days => "days",
            Self::Hours => "hours",
            Self::Minutes => "minutes",
            Self::RecordUnits => "record_units",
            Self::RecordLines => "record_lines",
            Self::Digest => "digest",
        }
    }
}

impl FindingStatus {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Open, Self::Acknowledged];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
        }
    }
}

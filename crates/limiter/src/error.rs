//! Why a check could not be decided. A refusal is no error.
use std::time::Duration;

use thiserror::Error;

/// The only error type of the limiter.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The shared store is down, and a limit has [`OnFailure::Deny`](crate::OnFailure::Deny).
    #[error("the shared store is unavailable")]
    Unavailable {
        /// The breaker probes the store within this time.
        retry_after: Duration,
    },
    /// No store accepts this check.
    #[error("the check cannot be decided: {0}")]
    InvalidCheck(#[from] InvalidCheck),
    /// The address does not begin with an allowed scheme.
    #[error(
        "{scheme:?} is no limiter URL's scheme: memory:, redis://, redis-sentinel://, redis-cluster:// and the same with rediss are allowed"
    )]
    Scheme {
        /// The text before the first colon.
        scheme: String,
    },
    /// The address is well-formed but cannot be used. It is not repeated, because it may hold a password.
    #[error("the limiter's Redis address cannot be used: {reason}")]
    Address {
        /// Does not contain the address.
        reason: String,
    },
    /// The file is truncated or altered. Nothing of it was restored.
    #[error("the snapshot is damaged: {reason}")]
    DamagedSnapshot {
        /// What is wrong with the file.
        reason: &'static str,
    },
    /// A shared store keeps its own.
    #[error("snapshots are for the memory store: a shared store keeps its own")]
    SnapshotOfSharedStore,
    /// Writing or reading a snapshot failed.
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A check that no store accepts.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidCheck {
    #[error("a check has at most {most} subjects")]
    TooManyParts { most: usize },
    #[error("a subject has at most {most} limits")]
    TooManyLimits { most: usize },
    #[error("the limit {name:?} stands twice")]
    LimitTwice { name: String },
    #[error("a subject stands twice")]
    SubjectTwice,
    #[error("the subjects of one check must share a partition")]
    PartitionsDiffer,
    #[error("a concurrency limit is held under a name: the check has none")]
    HoldWithoutName,
    #[error("a reservation lives 1 ms to 1 day, in whole microseconds")]
    Life,
    #[error("a floor names a limit that is not there")]
    FloorWithoutLimit,
    #[error("the limit {name:?} applies beyond a fixed window that counts: there is none directly before it")]
    BeyondNothing { name: String },
}

/// Why a quota cannot exist. Every message names what is allowed.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidQuota {
    #[error("limit {limit} is out of range: 1 to {largest} is allowed")]
    Limit { limit: u64, largest: u64 },
    #[error("window {window:?} is out of range: 1 ms to 3660 days, in whole microseconds, is allowed")]
    Window { window: Duration },
    #[error("a bucket of {burst} that refills by {limit} every {window:?} is full only after more than 3660 days")]
    Refill { limit: u64, window: Duration, burst: u64 },
    #[error("life {life:?} of a hold is out of range: 1 ms to 1 day, in whole microseconds, is allowed")]
    Life { life: Duration },
    #[error("a sliding window has a fixed length: calendar periods are for fixed windows")]
    SlidingCalendar,
    #[error("anchor day {day} is out of range: 1 to {last} is allowed")]
    AnchorDay { day: u8, last: u8 },
    #[error("anchor month {month} is out of range: 1 to {last} is allowed")]
    AnchorMonth { month: u8, last: u8 },
}

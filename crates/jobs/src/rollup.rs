//! Sums minutes into hours and days for the days that have ended.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Priority;

/// What to roll up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Days that begin before this are due.
    pub before: DateTime<Utc>,
}

/// As stored.
pub const NAME: &str = "rollup";
/// Reads history; nothing waits for it.
pub const PRIORITY: Priority = Priority::Low;
/// The next tick does the same work again, so few.
pub const MAX_ATTEMPTS: u32 = 5;
/// Many keys, each day in its own transaction.
pub const TIMEOUT: Duration = Duration::from_secs(300);

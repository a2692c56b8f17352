//! Deletes what is older than its retention.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Backoff, Priority, belongs::Belongs};

/// What to clean up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Ages are measured from here.
    pub at: DateTime<Utc>,
}

/// As stored.
pub const NAME: &str = "retention";
/// Late deletion harms nobody.
pub const PRIORITY: Priority = Priority::Low;
/// The next tick does the same work again, so few.
pub const MAX_ATTEMPTS: u32 = 5;
/// Deletes in chunks, but after an outage there may be many.
pub const TIMEOUT: Duration = Duration::from_secs(600);
/// A database that is busy is often free a moment later.
pub const BACKOFF: Backoff = Backoff::STORES;

/// The installation's own.
impl Belongs for Payload {}

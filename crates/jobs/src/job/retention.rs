//! Deletes rows that are older than their retention.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Backoff, Priority, belongs::Belongs};

/// The moment for which to clean up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Ages are measured back from this moment.
    pub at: DateTime<Utc>,
}

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "retention";
/// Late deletion harms nobody.
pub const PRIORITY: Priority = Priority::Low;
/// Few, because the next tick does the same work again.
pub const MAX_ATTEMPTS: u32 = 5;
/// It deletes in chunks, and after an outage there may be many.
pub const TIMEOUT: Duration = Duration::from_secs(600);
/// A busy database is often free a moment later.
pub const BACKOFF: Backoff = Backoff::STORES;

/// Belongs to the installation.
impl Belongs for Payload {}

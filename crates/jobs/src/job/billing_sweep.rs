//! Finds what time makes due in billing: periods to close, payments that are overdue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Backoff, Priority, belongs::Belongs};

/// Nothing: the tables know what is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {}

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "billing_sweep";
/// Nobody waits for it.
pub const PRIORITY: Priority = Priority::Default;
/// Few, because the next tick does the same work again.
pub const MAX_ATTEMPTS: u32 = 3;
/// It reads the ids of all keys that are due, and queues a job for some thousands of them each.
pub const TIMEOUT: Duration = Duration::from_secs(300);
/// A busy database is often free a moment later.
pub const BACKOFF: Backoff = Backoff::STORES;

/// Belongs to the installation.
impl Belongs for Payload {}

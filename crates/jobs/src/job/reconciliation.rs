//! Compares what journals, usage and records say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Backoff, Priority, belongs::Belongs};

/// Nothing: it compares everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {}

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "reconciliation";
/// It reads a lot, and nobody waits for it.
pub const PRIORITY: Priority = Priority::Low;
/// Few, because the next tick does the same work again.
pub const MAX_ATTEMPTS: u32 = 3;
/// Years of records are read.
pub const TIMEOUT: Duration = Duration::from_secs(1_800);
/// A busy database is often free a moment later.
pub const BACKOFF: Backoff = Backoff::STORES;

/// Belongs to the installation.
impl Belongs for Payload {}

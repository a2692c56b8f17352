//! Pushes the database's totals of the period into the limiter, whose own counts may have been lost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Backoff, Priority, belongs::Belongs};

/// Empty: the job pushes all totals that are current.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {}

/// As stored.
pub const NAME: &str = "quota_sync";
/// Until it has run, a quota that was lost admits too much.
pub const PRIORITY: Priority = Priority::Critical;
/// The next tick, seconds later, does the same work with newer totals.
pub const MAX_ATTEMPTS: u32 = 3;
/// After a longer run its totals would be out of date.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts that fail at once are over before the next tick.
pub const BACKOFF: Backoff = Backoff::STORES;

/// The installation's own.
impl Belongs for Payload {}

//! Pushes the database's totals of the current period into the limiter, which may have lost its own counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Backoff, Priority, belongs::Belongs};

/// Empty, because the job pushes all current totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {}

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "quota_sync";
/// Until it runs, a quota whose count was lost admits too much.
pub const PRIORITY: Priority = Priority::Critical;
/// The next tick, seconds later, does the same work with newer totals.
pub const MAX_ATTEMPTS: u32 = 3;
/// After a longer run its totals would be out of date.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Its attempts are over before the next tick when each fails at once.
pub const BACKOFF: Backoff = Backoff::STORES;

/// Belongs to the installation.
impl Belongs for Payload {}

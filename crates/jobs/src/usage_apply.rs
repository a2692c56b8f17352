//! Brings the sums of a span of a node's journal to the database, moving that journal's cursor in the same transaction.

use std::time::Duration;

pub use tollgate_domain::usage::UsageBatch as Payload;

use crate::Priority;

/// As stored.
pub const NAME: &str = "usage_apply";
/// Bills and quotas wait for it.
pub const PRIORITY: Priority = Priority::Critical;
/// With a minute between attempts, a database that is away for an hour and a half kills no usage.
pub const MAX_ATTEMPTS: u32 = 100;
/// One transaction of a few thousand rows at most.
pub const TIMEOUT: Duration = Duration::from_secs(30);

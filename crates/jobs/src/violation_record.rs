//! Records who was refused by what, summed over a span of a node's journal.

use std::time::Duration;

pub use tollgate_domain::usage::ViolationBatch as Payload;

use crate::Priority;

/// As stored.
pub const NAME: &str = "violation_record";
/// Nobody is billed by it, but operators watch it.
pub const PRIORITY: Priority = Priority::Default;
/// As for usage: the span stays in the journal until the cursor has moved.
pub const MAX_ATTEMPTS: u32 = 100;
/// One transaction of a few thousand rows at most.
pub const TIMEOUT: Duration = Duration::from_secs(30);

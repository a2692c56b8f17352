//! API keys with their secrets and tags.

use crate::Repository;

mod change;
mod list;
mod probe;
mod row;
mod secrets;

pub use change::KeyCount;
pub use probe::MAX_PROBED;
pub use secrets::KeyAndPlan;

/// Reads and writes API keys.
#[derive(Clone, Copy)]
pub struct Keys<'a>(&'a Repository);

impl Repository {
    /// Reads and writes API keys.
    pub fn keys(&self) -> Keys<'_> {
        Keys(self)
    }
}

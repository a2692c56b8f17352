//! Refusals by limits and quotas.

use crate::Repository;

mod read;
mod upsert;

/// Records and reads refusals by limits and quotas.
#[derive(Clone, Copy)]
pub struct Violations<'a>(&'a Repository);

impl Repository {
    /// Records and reads refusals by limits and quotas.
    pub fn violations(&self) -> Violations<'_> {
        Violations(self)
    }
}

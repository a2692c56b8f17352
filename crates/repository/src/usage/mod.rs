//! What keys did: batches on their way into the tables, and what is read from there.

use crate::Repository;

pub(crate) mod cursors;
pub(crate) mod endpoints;
mod events;
pub(crate) mod pending;
mod read;
pub(crate) mod upsert;

pub use cursors::Applied;
pub use pending::FoldPart;
pub use upsert::PeriodTotal;

/// What keys did.
#[derive(Clone, Copy)]
pub struct Usage<'a>(&'a Repository);

impl Repository {
    /// What keys did.
    pub fn usage(&self) -> Usage<'_> {
        Usage(self)
    }
}

//! What keys did: batches on their way into the tables, and what is read from there.

use tollgate_domain::{ApiKeyId, TenantId};

use crate::Repository;

pub(crate) mod cursors;
pub(crate) mod endpoints;
mod events;
pub(crate) mod pending;
mod read;
pub(crate) mod upsert;

pub use cursors::Applied;
pub use upsert::PeriodTotal;

/// Whose key. Every table is written in a fixed order of its rows, so two writers never wait for each other in a circle.
pub(crate) type Key = (TenantId, ApiKeyId);

/// What keys did.
#[derive(Clone, Copy)]
pub struct Usage<'a>(&'a Repository);

impl Repository {
    /// What keys did.
    pub fn usage(&self) -> Usage<'_> {
        Usage(self)
    }
}

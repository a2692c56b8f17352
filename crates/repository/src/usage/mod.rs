//! Usage of keys: stores batches, adds them to the tables, and reads the tables.

use tollgate_domain::{ApiKeyId, TenantId};

use crate::Repository;

pub(crate) mod cursors;
pub(crate) mod endpoints;
mod events;
pub(crate) mod pending;
pub(crate) mod read;
pub(crate) mod upsert;

pub use cursors::Applied;
pub use upsert::PeriodTotal;

/// The key of usage rows. Every table is written in a fixed order of its rows, so two writers never
/// wait for each other in a circle.
pub(crate) type Key = (TenantId, ApiKeyId);

/// Adds and reads usage.
#[derive(Clone, Copy)]
pub struct Usage<'a>(&'a Repository);

impl Repository {
    /// Adds and reads usage.
    pub fn usage(&self) -> Usage<'_> {
        Usage(self)
    }
}

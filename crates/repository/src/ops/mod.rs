//! What keeps the tables in order: schedules and retention.

use crate::Repository;

mod retention;
mod schedules;

pub use retention::Retention;

/// Periodic jobs.
#[derive(Clone, Copy)]
pub struct Schedules<'a>(&'a Repository);

impl Repository {
    /// Periodic jobs.
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules(self)
    }
}

//! Maintenance of the tables: schedules and retention.

use crate::Repository;

mod retention;
mod schedules;

pub use retention::Retention;

/// Records the ticks of periodic jobs.
#[derive(Clone, Copy)]
pub struct Schedules<'a>(&'a Repository);

impl Repository {
    /// Records the ticks of periodic jobs.
    pub fn schedules(&self) -> Schedules<'_> {
        Schedules(self)
    }
}

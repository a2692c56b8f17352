//! From a decision to the tables, and what is read from there.
//!
//! Reading order: `event` (the journal's records), `record` and `refusals` (what is written), `shipper` and `batch_totals` (from
//! the journal to a job), [`fold`] (what the jobs do), then what is read: [`history`], [`violations`]; [`events`] were metered
//! elsewhere.

use crate::Service;

pub(crate) mod batch_totals;
pub(crate) mod event;
pub mod events;
pub mod fold;
pub mod history;
mod record;
pub(crate) mod refusals;
pub(crate) mod shipper;
pub mod violations;

/// What keys used.
#[derive(Clone, Copy)]
pub struct Metering<'a>(&'a Service);

impl Service {
    /// What keys used.
    pub fn metering(&self) -> Metering<'_> {
        Metering(self)
    }
}

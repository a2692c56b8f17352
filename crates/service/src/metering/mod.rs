//! From a decision to the tables, and what is read from there.
//!
//! Reading order: `event` (the journal's records), `record` and `refusals` (write them), `shipper` and `batch_totals`
//! (from the journal to a job), [`fold`] (the work of the jobs); then the reads: [`history`], [`violations`].
//! [`events`] records usage that other systems metered.

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

/// Records and reads what keys used.
#[derive(Clone, Copy)]
pub struct Metering<'a>(&'a Service);

impl Service {
    /// Records and reads what keys used.
    pub fn metering(&self) -> Metering<'_> {
        Metering(self)
    }
}

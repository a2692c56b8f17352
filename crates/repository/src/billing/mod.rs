//! What keys owe.

use crate::Repository;

pub(crate) mod accounts;
mod close;
mod credits;
mod export;
mod grants;
mod list;
mod payment;
mod period;
mod reconcile;
mod rows;
mod sweep;
mod void;
mod write;

pub use close::{CloseTerms, Outcome, Unbillable};
pub use export::{Export, ExportRange};
pub use grants::Application;
pub use list::SummaryRow;
pub use payment::Payment;
pub use period::PeriodUsage;
pub(crate) use period::of_key;
pub use reconcile::Difference;
pub use void::Voided;

/// What keys owe.
#[derive(Clone, Copy)]
pub struct Billing<'a>(&'a Repository);

impl Repository {
    /// What keys owe.
    pub fn billing(&self) -> Billing<'_> {
        Billing(self)
    }
}

//! What keys owe.

use tollgate_domain::BillingPeriod;

use crate::body::problem::Problem;

pub(crate) mod credits;
pub(crate) mod export;
pub(crate) mod preview;
pub(crate) mod reconciliation;
pub(crate) mod records;
pub(crate) mod summary;

/// A month in a query.
fn month(name: &str, text: &str) -> Result<BillingPeriod, Problem> {
    let wrong = || Problem::bad_request(format!("{name} must be a month such as 2026-11"));
    BillingPeriod::parse(text).ok_or_else(wrong)
}

//! `/api/v1/billing`: what keys owe.

mod cases;
mod credits;
mod kill;
mod preview;
mod reconciliation;
mod records;
mod spend_caps;
mod year;

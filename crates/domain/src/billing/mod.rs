//! Records of what keys owe: the lines as they are stored and shown, and what becomes of a record.

pub mod close;
pub mod credit;
mod due;
mod filter;
pub mod finding;
pub mod grant;
mod line;
pub mod record;

pub use due::DuePeriod;
pub use filter::{RecordFilter, RecordOrder, SummaryGroup};
pub use line::{LineSegment, RecordLine};
pub use record::{PaymentStatus, Record, RecordStatus};

//! Tollgate's tables: one SQL text for SQLite and PostgreSQL, one folder per noun.
//!
//! Reading order: `core` (the engine behind a URL, deadlines, retries), then the nouns: [`Keys`], [`Plans`], [`Usage`],
//! [`Violations`], [`Tokens`] and the rest of `access`, [`Schedules`]. Every method takes the tenant whose data it
//! uses, except where the credential determines the tenant or the installation itself is the caller. Look-ups return
//! `Result<Option<T>>`. To change a row, the caller passes a function that sees it inside the transaction.

#[macro_use]
mod core;
mod access;
mod billing;
mod keys;
mod ops;
mod plans;
mod prices;
mod usage;
mod violations;

pub use crate::core::{
    database::Repository,
    error::Error,
    options::{Options, PoolStats},
    revisions::Changes,
};
pub use access::{FoundToken, IdempotencyKeys, Tenants, TokenWrite, Tokens};
pub use billing::{
    Application, Billing, CloseTerms, Difference, Export, ExportRange, Outcome as CloseOutcome, Payment, PeriodUsage,
    SummaryRow, Unbillable, Voided,
};
pub use keys::{KeyAndPlan, KeyCount, Keys, MAX_PROBED};
pub use ops::{Retention, Schedules};
pub use plans::Plans;
pub use prices::PriceHistory;
pub use usage::{Applied, PeriodTotal, Usage};
pub use violations::Violations;

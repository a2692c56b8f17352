//! Tollgate's tables: one SQL text for SQLite and PostgreSQL, one file per resource.
//!
//! Reading order: [`database`] (the engine behind a URL, `on!`), [`retry`] (deadlines, what is tried again), [`error`],
//! then the resources. Every method takes the tenant whose data it touches, except where the credential names the
//! tenant or the installation itself asks; look-ups return `Result<Option<T>>`, and a thing is changed by a function of the
//! caller's that sees it inside the transaction.

#[macro_use]
mod database;
mod admin_tokens;
mod api_key_secrets;
mod api_keys;
mod bootstrap;
mod calendar;
mod error;
mod idempotency;
mod journal_cursors;
mod json;
mod key_list;
mod migrations;
mod outages;
mod plans;
mod postgres;
mod retention;
mod retry;
mod revisions;
mod rows;
mod schedules;
mod secret_probe;
mod tenants;
mod text;
mod token_changes;
mod usage;
mod usage_endpoints;
mod usage_events;
mod usage_pending;
mod usage_upsert;
mod violation_upsert;
mod violations;

pub use admin_tokens::FoundToken;
pub use api_key_secrets::KeyAndPlan;
pub use api_keys::KeyCount;
pub use database::{Options, PoolStats, Repository};
pub use error::Error;
pub use journal_cursors::Applied;
pub use retention::Retention;
pub use revisions::Changes;
pub use secret_probe::MAX_PROBED;
pub use token_changes::TokenWrite;
pub use usage_pending::FoldPart;
pub use usage_upsert::PeriodTotal;

//! Configuration and use cases: the only crate that sees keys, limits, journal, database and queue at once.
//!
//! Reading order: [`config`] → [`service`] (what is opened, once, from which URL) → [`check`] (one check, from key to
//! journal) with [`entry`] and [`cache`] (what is known of a key) and [`checked`] (what came of it) → `event`, `refusals`,
//! `shipper`, `sums` (from the journal to a job) → [`apply`] (what the jobs do) → one file per resource: [`api_keys`],
//! [`plans`], [`rate_limit`], [`usage`], [`jobs`], [`tokens`], [`idempotency`], [`health`]. Who may do any of it: [`caller`],
//! with `token_cache` and `secret_probe` (what a credential that the node does not hold may cost).

pub mod api_keys;
pub mod apply;
mod background;
pub mod cache;
pub mod caller;
pub mod check;
pub mod checked;
pub mod config;
pub mod entry;
mod error;
mod event;
pub mod health;
pub mod idempotency;
pub mod jobs;
mod low_priority;
pub mod metrics;
pub mod plans;
pub mod rate_limit;
mod refusals;
mod secret_probe;
pub mod seed;
pub mod service;
mod shipper;
mod sums;
pub mod terms;
mod token_cache;
pub mod tokens;
pub mod usage;

pub use caller::Caller;
pub use check::{Attempt, CheckRequest};
pub use checked::Checked;
pub use config::Config;
pub use entry::Entry;
pub use error::{Error, StartError};
pub use service::{Role, Service};

// What routes and jobs need to name of the crates below, so that they depend on this one only.
pub use tollgate_jobs::{DeadJob, Job};
pub use tollgate_limiter::{
    Algorithm as LimitAlgorithm, Decision, Limit, LimitStatus, Retry, Source, Timestamp, Window,
    fields::{self, FieldText},
};
pub use tollgate_repository::FoldPart;

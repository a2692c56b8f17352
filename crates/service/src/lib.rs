//! Configuration and use cases: the only crate that sees keys, limits, journal, database and queue at once.
//!
//! Reading order: [`config`] → [`app`] (opens everything once, chosen by URL) → [`check`] (one check, from key to
//! journal) → [`metering`] (from the journal to the tables) → a folder per noun, each behind an accessor of
//! [`Service`]: [`keys`], [`plans`], [`billing`], [`access`], [`ops`].

pub mod access;
pub mod app;
pub mod billing;
pub mod check;
pub mod config;
mod error;
pub mod keys;
pub mod metering;
mod open;
pub mod ops;
pub mod plans;

pub use access::Caller;
pub use app::{Role, Service};
pub use check::{CheckRequest, decide::Attempt, known_key::KnownKey, outcome::CheckOutcome};
pub use config::Config;
pub use error::{Error, StartError};

// Names from the crates below, so that routes and jobs depend only on this crate.
pub use tollgate_jobs::{DeadJob, Job};
pub use tollgate_limiter::{
    Algorithm as LimitAlgorithm, Decision, Limit, LimitStatus, Progress, Retry, Source, Timestamp, Window,
    fields::{self, FieldText},
};

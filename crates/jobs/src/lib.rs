//! Tollgate's background jobs and the queue that carries them.
//!
//! Reading order: [`job`] (the list of jobs; one file each, such as [`usage_apply`]), [`queue`] (push, look, replay),
//! [`mod@run`] (work). Behind them `store` chooses between `memory` and `redis`, `claims` knows what this process has
//! leased, and `lane` puts all that behind apalis, which drives the workers.
//!
//! Delivery is at least once: a job may be run twice or out of order, and must not mind. To add a job: its file here,
//! its `mod` line below and its line in [`job`]'s list. Its file also says whose it is, for a dead job is shown to its
//! tenants.

mod claims;
mod error;
pub mod job;
mod lane;
mod memory;
pub mod queue;
pub mod quota_sync;
mod redis;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests in tests/, which use the rest")]
#[path = "../tests/it/support/redis_server.rs"]
mod redis_server;
pub mod retention;
pub mod run;
mod store;
pub mod usage_apply;
pub mod violation_record;

pub use error::Error;
pub use job::{Job, Priority};
pub use queue::{DeadJob, Depth, Encoded, Options, Push, Pushed, Queue};
pub use run::{Concurrency, JobContext, Outcome, run};

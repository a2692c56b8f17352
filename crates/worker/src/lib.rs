//! Tollgate's background worker: each job is one service call and ends in done, retry or abort.
//!
//! [`run`] is all there is to it, in a process of its own (`tollgate-worker`) or inside the API's. One file per job; adding
//! one takes a file here, a file in `jobs` and a line in each list.

mod fold;
mod quota_sync;
mod retention;
mod run;
mod schedule;
mod usage_apply;
mod violation_record;
pub mod watch;

pub use run::run;

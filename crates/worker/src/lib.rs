//! Tollgate's background worker: each job is one service call and ends in done, retry or abort.
//!
//! [`run()`] is the whole worker, in a process of its own (`tollgate-worker`) or inside the API's. It runs the jobs
//! (`job`, one file each), pushes the jobs that schedules make due (`schedule`) and adds usage to the tables (`fold`).

mod calendar;
mod fold;
mod job;
pub mod ops_server;
mod run;
pub mod schedule;

pub use run::run;

//! Tollgate's background jobs and the queue that carries them.
//!
//! Reading order: [`job`] (the list of jobs, one file each), [`queue`] (push jobs, list and replay the dead), [`mod@run`]
//! (work) and [`attempt`] (one attempt at a job). Behind the queue, `store` chooses between `memory` and `redis`; `record`
//! is what goes in and out. Behind the work, `leases` knows what this process has leased, and `priority_worker` is the
//! backend that apalis drives.
//!
//! Delivery is at least once: a job may run twice or out of order, and must allow for it.
//!
//! apalis polls, runs as many jobs at once as it is told, restarts workers and drains them, and its layers catch a panic and
//! end an attempt that takes too long; they are laid around each attempt, because each job has a timeout of its own, and
//! cost the same as doing it by hand (190 ns). The store, the leases, the backoff and the dead jobs are ours, because
//! apalis's Redis storage counts no attempt of a killed worker and has no list of the dead; a job's end goes from `leases`
//! to the store, because apalis passes events on only between fetches. Its tracing layer is left out: a span of our own
//! costs 600 ns instead of 775, and its line about a failure would be a second one.

pub mod attempt;
mod backoff;
mod belongs;
mod envelope;
mod error;
pub mod job;
mod leases;
mod memory;
mod options;
mod priority;
mod priority_worker;
pub mod queue;
mod record;
mod redis;
pub mod run;
mod store;
mod trace;

pub use attempt::{JobContext, Outcome};
pub use backoff::Backoff;
pub use error::Error;
pub use job::Job;
pub use options::Options;
pub use priority::Priority;
pub use queue::{DeadJob, Encoded, Push, Queue};
pub use record::{Depth, Pushed};
pub use run::{Concurrency, run};

//! Tollgate's background jobs and the queue that carries them.
//!
//! Reading order: [`job`] (the list of jobs, one file each), [`queue`] (push jobs, list and retry the dead),
//! [`mod@run`] (run jobs) and [`attempt`] (one attempt at a job). Behind the queue, `store` chooses between `memory`
//! and `redis`, and `record` holds what they take and return. Behind the workers, `leases` knows what this process has
//! leased, and `priority_worker` is the backend that apalis drives.
//!
//! Delivery is at least once: a job may run twice or out of order, and must allow for it.
//!
//! apalis polls, bounds how many jobs run at once, restarts workers and drains them. Its layers catch a panic and end
//! an attempt that takes too long; they wrap each attempt, because each job has its own timeout, and cost the same as
//! code of our own (190 ns). The store, the leases, the backoff and the dead jobs are ours, because apalis's Redis
//! storage counts no attempt of a killed worker and has no list of dead jobs. A job's end goes from `leases` to the
//! store, because apalis delivers events only between fetches. Its tracing layer is left out: our own span costs 600 ns
//! instead of 775, and the layer would log each failure a second time.

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

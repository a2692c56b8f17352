//! Operation of a node: background tasks, snapshots, health, metrics, retention, dead jobs, demonstration data.

use crate::Service;

pub(crate) mod background;
pub mod health;
mod jobs;
pub(crate) mod low_priority;
pub mod metrics;
mod retention;
pub mod seed;
pub(crate) mod snapshot;

/// Use cases of the installation.
#[derive(Clone, Copy)]
pub struct Ops<'a>(&'a Service);

impl Service {
    /// The installation itself.
    pub fn ops(&self) -> Ops<'_> {
        Ops(self)
    }
}

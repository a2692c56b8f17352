//! The dead letters: jobs that failed too often, with the cause, to be looked at and tried again.

use tollgate_jobs::DeadJob;

use crate::{Error, Service};

impl Service {
    /// Dead jobs, the latest first, and how many there are.
    pub async fn dead_jobs(&self, page: u32, limit: u32) -> Result<(Vec<DeadJob>, u64), Error> {
        Ok(self.queue().dead(page, limit).await?)
    }

    /// Makes a dead job due again with all its attempts.
    pub async fn retry_job(&self, id: &str) -> Result<(), Error> {
        self.queue().retry(id).await?.map(|_| ()).ok_or(Error::NotFound("dead job"))
    }
}

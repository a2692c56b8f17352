//! Dead jobs: those that failed too often, with the cause, to read and to retry. Each tenant sees its own.

use tollgate_domain::TenantId;
use tollgate_jobs::DeadJob;

use super::Ops;
use crate::Error;

impl Ops<'_> {
    /// A page of a tenant's dead jobs, the latest first, and their total number.
    pub async fn dead_jobs(self, tenant_id: TenantId, page: u32, limit: u32) -> Result<(Vec<DeadJob>, u64), Error> {
        Ok(self.0.queue().dead(tenant_id, page, limit).await?)
    }

    /// Makes a dead job of the tenant due again, with all its attempts.
    pub async fn retry_job(self, tenant_id: TenantId, id: &str) -> Result<(), Error> {
        self.0.queue().retry(tenant_id, id).await?.map(|_| ()).ok_or(Error::NotFound("dead job"))
    }
}

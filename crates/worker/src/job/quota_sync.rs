//! Raises the quota counters of recently used keys to the database's totals. The next tick does it again, so a failure is
//! not retried on its own.

use tollgate_jobs::{Outcome, job::quota_sync::Payload};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, _payload: &Payload) -> Outcome {
    if let Err(error) = service.metering().sync_quotas().await {
        tracing::debug!(%error, "cannot raise the quota counters; the next tick tries again");
    }
    Outcome::Done
}

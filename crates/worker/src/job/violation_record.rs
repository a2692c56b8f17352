//! Adds a batch of violations to the database, once.

use tollgate_domain::usage::ViolationBatch;
use tollgate_jobs::Outcome;
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, batch: &ViolationBatch) -> Outcome {
    Outcome::of(service.metering().record_violations(batch).await)
}

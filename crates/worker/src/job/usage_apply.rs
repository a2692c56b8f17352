//! Adds a batch of usage to the database once. A copy, or a batch that comes too late, ends as done without effect.

use tollgate_domain::usage::UsageBatch;
use tollgate_jobs::Outcome;
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, batch: &UsageBatch) -> Outcome {
    Outcome::of(service.metering().apply(batch).await)
}

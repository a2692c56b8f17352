//! Compares what journals, usage and records say.

use tollgate_jobs::{Outcome, job::reconciliation::Payload};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, _payload: &Payload) -> Outcome {
    Outcome::of(service.billing().reconcile().await)
}

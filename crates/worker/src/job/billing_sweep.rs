//! Queues what is due in billing.

use tollgate_jobs::{Outcome, job::billing_sweep::Payload};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, _payload: &Payload) -> Outcome {
    Outcome::of(service.billing().sweep().await)
}

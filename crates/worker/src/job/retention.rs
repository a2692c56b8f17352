//! Deletes rows that are past their retention.

use tollgate_jobs::{Outcome, job::retention::Payload};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, _payload: &Payload) -> Outcome {
    let result = service.ops().clean_up().await;
    if let Ok(rows) = result {
        tracing::info!(rows, "deleted rows past their retention");
    }
    Outcome::of(result)
}

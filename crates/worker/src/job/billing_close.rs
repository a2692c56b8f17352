//! Closes a month for a range of keys.

use tollgate_jobs::{Outcome, job::billing_close::Payload};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, payload: &Payload) -> Outcome {
    let result = service.billing().close_range(payload.first, payload.last).await;
    if let Ok(records @ 1..) = result {
        tracing::info!(records, period = %payload.first.period_start.format("%Y-%m"), "closed records");
    }
    Outcome::of(result)
}

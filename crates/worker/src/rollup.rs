//! Sums minutes into hours and days, as many key-days as are due.

use tollgate_jobs::{Outcome, rollup::Payload};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, payload: &Payload) -> Outcome {
    loop {
        match service.roll_up(payload.before).await {
            Ok(0) => return Outcome::Done,
            Ok(days) => tracing::debug!(days, "rolled up"),
            Err(error) => return Outcome::Retry(error.to_string()),
        }
    }
}

//! The code of each job. To add one, write its file here, its `mod` line and its line in [`run`].

mod billing_close;
mod billing_sweep;
mod quota_sync;
mod reconciliation;
mod retention;
mod usage_apply;
mod violation_record;

use tollgate_jobs::{Job, Outcome};
use tollgate_service::Service;

pub(crate) async fn run(service: &Service, job: Job) -> Outcome {
    match job {
        Job::UsageApply(payload) => usage_apply::run(service, &payload).await,
        Job::ViolationRecord(payload) => violation_record::run(service, &payload).await,
        Job::Retention(payload) => retention::run(service, &payload).await,
        Job::QuotaSync(payload) => quota_sync::run(service, &payload).await,
        Job::BillingSweep(payload) => billing_sweep::run(service, &payload).await,
        Job::BillingClose(payload) => billing_close::run(service, &payload).await,
        Job::Reconciliation(payload) => reconciliation::run(service, &payload).await,
    }
}

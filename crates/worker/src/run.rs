//! The worker's loop: runs jobs from the queue, pushes scheduled ones into it, and folds usage.

use tokio_util::sync::CancellationToken;
use tollgate_jobs::{Concurrency, Job, Outcome};
use tollgate_service::Service;

use crate::{fold, job, schedule};

/// Runs jobs and schedules until `shutdown` resolves, then finishes the running jobs and gives back the rest.
///
/// # Errors
/// When the queue does not know which jobs were finished; those run again, without effect.
pub async fn run(
    service: Service,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), tollgate_jobs::Error> {
    let settings = &service.config().worker;
    let concurrency = Concurrency {
        critical: settings.critical_concurrency,
        default: settings.default_concurrency,
        low: settings.low_concurrency,
    };
    let queue = service.queue().clone();
    let stop = CancellationToken::new();
    let schedules = tokio::spawn(schedule::run_all(service.clone(), stop.clone()));
    let folding = tokio::spawn(fold::run(service.clone(), stop.clone()));
    let handler = move |job, _context| handle(service.clone(), job);
    let ended = tollgate_jobs::run(queue, handler, concurrency, shutdown).await;
    stop.cancel();
    for (what, task) in [("the schedules", schedules), ("the fold", folding)] {
        if let Err(error) = task.await {
            tracing::error!(%error, "{what} panicked");
        }
    }
    ended
}

async fn handle(service: Service, job: Job) -> Outcome {
    let mut counted = Counted { service: &service, job: job.name(), outcome: "cut" };
    let outcome = job::run(&service, job).await;
    counted.outcome = match &outcome {
        Outcome::Done => "done",
        Outcome::Retry { .. } => "retry",
        Outcome::Abort(_) => "abort",
    };
    outcome
}

/// Counts an attempt when it is dropped, so that one that panics, takes too long or is given back is counted too.
struct Counted<'a> {
    service: &'a Service,
    job: &'static str,
    outcome: &'static str,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.service.metrics().jobs.with_label_values(&[self.job, self.outcome]).inc();
    }
}

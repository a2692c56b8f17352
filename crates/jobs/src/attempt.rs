//! One attempt at a job: what its handler receives, how it ends, and what the store learns about it.

use std::{any::Any, convert::Infallible, fmt::Display, future::Future, sync::Arc, time::Duration};

use apalis::{
    layers::{TimeoutLayer, catch_panic::CatchPanicLayer},
    prelude::Task,
};
use tower::{Layer, Service, service_fn, timeout::error::Elapsed};
use tracing::{Instrument, debug, error, info_span, warn};

use crate::{
    Backoff, Job, Push,
    envelope::{Envelope, Unreadable},
    leases::Leases,
    record::{LeasedJob, Verdict},
    trace::trace_id,
};

/// Longest cause that is kept, in bytes. An error text is usually a few hundred; this bounds what the dead jobs occupy.
const CAUSE_LIMIT: usize = 2_000;

/// What a handler receives besides its job.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The job's id, as pushed.
    pub id: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// A job that fails in the attempt with this number is dead.
    pub max_attempts: u32,
    /// W3C trace context of the request or job that pushed this one.
    pub traceparent: Option<String>,
}

impl JobContext {
    fn new(leased: &LeasedJob, traceparent: Option<String>) -> Self {
        let attempt = leased.attempts.saturating_add(1);
        Self { id: leased.id.clone(), attempt, max_attempts: leased.max_attempts, traceparent }
    }

    /// The trace id of [`JobContext::traceparent`], which is in this job's log lines as `trace_id`.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref().and_then(trace_id)
    }

    /// How to push another job from within this one, so that both belong to the same trace.
    pub fn push(&self) -> Push {
        Push { traceparent: self.traceparent.clone(), ..Push::default() }
    }
}

/// How a handler ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished, or found nothing to do.
    Done,
    /// Failed, but may succeed later. The attempt counts, and after the last one the job is dead.
    Retry {
        /// Goes to the log and to the list of dead jobs.
        cause: String,
        /// How long to wait, when the job knows better than its [`Backoff`]. Raised to that backoff's first wait and
        /// cut to a day. `None` leaves it to the backoff.
        after: Option<Duration>,
    },
    /// Failed for this cause and always will. Dead at once.
    Abort(String),
}

impl Outcome {
    /// `Done`, or a retry when the failure may pass: for jobs whose data is in the database or comes again.
    pub fn of<T>(result: Result<T, impl Display>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(error) => Self::retry(error.to_string()),
        }
    }

    /// A failure that is tried again after the time that the job's [`Backoff`] says.
    pub fn retry(cause: impl Into<String>) -> Self {
        Self::Retry { cause: cause.into(), after: None }
    }
}

/// Runs one job to its end, unless another process takes its lease meanwhile.
pub(crate) async fn run_leased<H, F>(leases: Arc<Leases>, handler: Arc<H>, leased: LeasedJob)
where
    H: Fn(Job, JobContext) -> F,
    F: Future<Output = Outcome>,
{
    let Some(lost) = leases.start(&leased) else { return };
    tokio::select! {
        () = lost.cancelled() => debug!(id = leased.id, "a job was stopped; a worker runs it again"),
        verdict = attempt(&*handler, &leased) => leases.settle(&leased, verdict),
    }
}

async fn attempt<H, F>(handler: &H, leased: &LeasedJob) -> Verdict
where
    H: Fn(Job, JobContext) -> F,
    F: Future<Output = Outcome>,
{
    let envelope = match Envelope::decode(&leased.body) {
        Ok(envelope) => envelope,
        Err(error) => {
            let outcome = match error {
                Unreadable::Newer { .. } => Outcome::retry(error.to_string()),
                Unreadable::Malformed(_) => Outcome::Abort(error.to_string()),
            };
            return verdict(outcome, Backoff::STORES, "unreadable", &JobContext::new(leased, None));
        }
    };
    let Envelope { job, traceparent, .. } = envelope;
    let (name, backoff, context) = (job.name(), job.backoff(), JobContext::new(leased, traceparent));
    let span = info_span!("job", job = name, id = context.id, attempt = context.attempt, trace_id = context.trace_id());
    let outcome = handled(handler, job, context.clone()).instrument(span).await;
    verdict(outcome, backoff, name, &context)
}

/// Runs the handler under apalis's layers, which turn a panic and a timeout into failures with that cause.
async fn handled<H, F>(handler: &H, job: Job, context: JobContext) -> Outcome
where
    H: Fn(Job, JobContext) -> F,
    F: Future<Output = Outcome>,
{
    let limit = job.timeout();
    // In a future, because the handler's code before its first await may also panic or be slow.
    let call = service_fn(|task: Task<(Job, JobContext)>| async {
        let (job, context) = task.args;
        Ok::<_, Infallible>(handler(job, context).await)
    });
    // Per attempt and not per worker, because each job has its own timeout.
    let mut layered = CatchPanicLayer::with_panic_handler(Panicked::of).layer(TimeoutLayer::new(limit).layer(call));
    match layered.call(Task::new((job, context))).await {
        Ok(outcome) => outcome,
        Err(error) if error.is::<Elapsed>() => Outcome::retry(format!("took longer than {} s", limit.as_secs_f64())),
        Err(error) => Outcome::retry(error.to_string()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
struct Panicked(String);

impl Panicked {
    fn of(panic: &Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned())
    }
}

/// What to tell the store. Only this function logs how an attempt ended.
fn verdict(outcome: Outcome, backoff: Backoff, job: &str, context: &JobContext) -> Verdict {
    let JobContext { id, attempt, max_attempts, .. } = context;
    let trace_id = context.trace_id();
    match outcome {
        Outcome::Done => {
            debug!(job, id, attempt, trace_id, "a job is done");
            Verdict::Done
        }
        Outcome::Retry { cause, after } => {
            let cause = shorten(cause);
            // Waits the whole delay when the system has no random numbers: later is harmless.
            let share = || getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
            let after = after.map_or_else(|| backoff.delay(*attempt, share()), |after| backoff.bounded(after));
            if attempt >= max_attempts {
                error!(job, id, attempt, max_attempts, trace_id, cause, "a job failed in its last attempt; it is dead");
            } else {
                let after = after.as_secs_f64();
                warn!(job, id, attempt, max_attempts, trace_id, cause, after, "a job failed; trying again");
            }
            Verdict::Retry { after, cause }
        }
        Outcome::Abort(cause) => {
            let cause = shorten(cause);
            error!(job, id, attempt, trace_id, cause, "a job cannot succeed; it is dead");
            Verdict::Abort { cause }
        }
    }
}

fn shorten(mut cause: String) -> String {
    cause.truncate(cause.floor_char_boundary(CAUSE_LIMIT));
    cause
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::job::quota_sync;

    fn leased(body: Vec<u8>) -> LeasedJob {
        LeasedJob { id: "1".to_owned(), body, attempts: 0, max_attempts: 3, token: "t".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_takes_longer_than_its_job_may_is_dropped_and_has_failed() {
        let job = Job::QuotaSync(quota_sync::Payload {});
        let dropped = CancellationToken::new();
        let guard = Arc::new(std::sync::Mutex::new(Some(dropped.clone().drop_guard())));
        let forever = |_, _| {
            let guard = guard.lock().unwrap().take();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        };
        let verdict = attempt(&forever, &leased(Envelope::encode(&job, None).unwrap())).await;
        assert!(matches!(verdict, Verdict::Retry { cause, .. } if cause == "took longer than 30 s"));
        assert!(dropped.is_cancelled());
    }

    #[tokio::test]
    async fn what_a_newer_version_pushed_is_left_for_a_newer_worker() {
        let never = |_, _| async { Outcome::Done };
        let verdict = attempt(&never, &leased(br#"{"v":9,"job":{}}"#.to_vec())).await;
        let newer = "its layout 9 is newer than this worker's 2";
        assert!(matches!(verdict, Verdict::Retry { cause, .. } if cause == newer));
    }

    #[test]
    fn a_long_cause_is_cut_between_characters() {
        let cause = shorten("ü".repeat(CAUSE_LIMIT));
        assert_eq!(cause.len(), CAUSE_LIMIT);
        assert_eq!(shorten("x".to_owned() + &cause).len(), CAUSE_LIMIT - 1);
    }
}

//! One attempt at a job: what its handler is told, how it may end, and what becomes of it in the store.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    Job, Options,
    envelope::{Envelope, Unreadable},
    leases::Leases,
    record::{LeasedJob, Verdict},
};

/// Longest cause that is kept, in bytes.
const CAUSE_LIMIT: usize = 2_000;

/// What a handler is told beside the job.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// As pushed.
    pub id: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When `attempt` reaches it, a retry is a death.
    pub max_attempts: u32,
    /// W3C trace context of whoever pushed.
    pub traceparent: Option<String>,
}

/// How a handler ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished, or found nothing to do.
    Done,
    /// Failed for this cause; may succeed later. Dead after the last attempt.
    Retry(String),
    /// Failed for this cause and always will. Dead at once.
    Abort(String),
}

/// Runs one job to its end, unless its lease is lost in between.
pub(crate) async fn run_leased<H, F>(leases: Arc<Leases>, options: Arc<Options>, handler: Arc<H>, job: LeasedJob)
where
    H: Fn(Job, JobContext) -> F,
    F: Future<Output = Outcome>,
{
    let Some(lost) = leases.start(&job) else { return };
    tokio::select! {
        () = lost.cancelled() => debug!(id = job.id, "a job was cut short"),
        outcome = attempt(&*handler, &job) => {
            let verdict = verdict(outcome, &job, &options);
            leases.settle(&job, verdict);
        }
    }
}

async fn attempt<H, F>(handler: &H, job: &LeasedJob) -> Outcome
where
    H: Fn(Job, JobContext) -> F,
    F: Future<Output = Outcome>,
{
    let envelope = match Envelope::decode(&job.body) {
        Ok(envelope) => envelope,
        Err(error @ Unreadable::Newer { .. }) => return Outcome::Retry(error.to_string()),
        Err(error @ Unreadable::Malformed(_)) => return Outcome::Abort(error.to_string()),
    };
    let limit = envelope.job.timeout();
    let context = JobContext {
        id: job.id.clone(),
        attempt: job.attempts.saturating_add(1),
        max_attempts: job.max_attempts,
        traceparent: envelope.traceparent,
    };
    // The handler's own code before its first await may panic too.
    let handled = async { handler(envelope.job, context).await };
    match AssertUnwindSafe(timeout(limit, handled)).catch_unwind().await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Outcome::Retry(format!("took longer than {} s", limit.as_secs_f64())),
        Err(panic) => Outcome::Retry(format!("panicked: {}", panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text")
}

fn verdict(outcome: Outcome, job: &LeasedJob, options: &Options) -> Verdict {
    let (cause, fatal) = match outcome {
        Outcome::Done => return Verdict::Done,
        Outcome::Retry(cause) => (shorten(cause), false),
        Outcome::Abort(cause) => (shorten(cause), true),
    };
    let attempt = job.attempts.saturating_add(1);
    warn!(id = job.id, attempt, max_attempts = job.max_attempts, fatal, cause, "a job failed");
    if fatal { Verdict::Abort { cause } } else { Verdict::Retry { after: backoff(options, attempt), cause } }
}

fn shorten(mut cause: String) -> String {
    cause.truncate(cause.floor_char_boundary(CAUSE_LIMIT));
    cause
}

/// Doubles with each attempt up to the most; between half and all of that, so that what failed together does not come
/// back together.
fn backoff(options: &Options, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let most = options.backoff.saturating_mul(1 << doublings).min(options.backoff_max);
    // Without randomness the whole delay: later is harmless.
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    most.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Concurrency, Priority, Queue, job::quota_sync, run};

    #[test]
    fn the_backoff_doubles_up_to_its_most_and_keeps_at_least_half() {
        let options =
            Options { backoff: Duration::from_millis(200), backoff_max: Duration::from_secs(60), ..Options::default() };
        for (attempt, most) in
            [(1, 200), (2, 400), (3, 800), (8, 25_600), (9, 51_200), (10, 60_000), (u32::MAX, 60_000)]
        {
            for _ in 0..100 {
                let delay = backoff(&options, attempt).as_micros();
                assert!((most * 500..=most * 1_000).contains(&delay), "attempt {attempt}: {delay} us");
            }
        }
    }

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
        let outcome = attempt(&forever, &leased(Envelope::encode(&job, None).unwrap())).await;
        assert_eq!(outcome, Outcome::Retry("took longer than 30 s".to_owned()));
        assert!(dropped.is_cancelled());
    }

    #[tokio::test]
    async fn what_a_newer_version_pushed_is_left_for_a_newer_worker() {
        let never = |_, _| async { Outcome::Done };
        let outcome = attempt(&never, &leased(br#"{"v":9,"job":{}}"#.to_vec())).await;
        assert_eq!(outcome, Outcome::Retry("its layout 9 is newer than this worker's 2".to_owned()));
    }

    #[tokio::test]
    async fn poison_in_memory_is_dead_with_a_cause_and_the_others_flow() {
        let queue = Queue::connect("memory:", Options::default(), tollgate_domain::Clock::System).await.unwrap();
        // Before the sound one in line: due as early, and their ids sort first.
        let poison = |id: &str| crate::record::NewJob {
            id: id.to_owned(),
            body: b"{\"v\":1,".to_vec(),
            max_attempts: 5,
            tenants: crate::record::Tenants::default(),
            run_at: None,
        };
        queue.store.push(Priority::Critical, vec![poison("0-a"), poison("0-b")]).await.unwrap();
        queue.push(&Job::QuotaSync(quota_sync::Payload {}), crate::Push::default()).await.unwrap();
        let handled = CancellationToken::new();
        let (told, shutdown) = (handled.clone(), handled.cancelled_owned());
        let handler = move |_, _| {
            told.cancel();
            async { Outcome::Done }
        };
        run(queue.clone(), handler, Concurrency { critical: 1, default: 0, low: 0 }, shutdown).await.unwrap();
        let (dead, _) = queue.dead(tollgate_domain::TenantId::DEFAULT, 1, 10).await.unwrap();
        assert_eq!(
            dead.iter().map(|job| (job.id.as_str(), job.attempts)).collect::<Vec<_>>(),
            [("0-b", 1), ("0-a", 1)]
        );
        assert!(dead.iter().all(|job| job.cause.contains("cannot be decoded") && job.name == "unreadable"));
    }

    #[test]
    fn a_long_cause_is_cut_between_characters() {
        let cause = shorten("ü".repeat(CAUSE_LIMIT));
        assert_eq!(cause.len(), CAUSE_LIMIT);
        assert_eq!(shorten("x".to_owned() + &cause).len(), CAUSE_LIMIT - 1);
    }
}

//! Working the queue: three apalis workers, one per priority, until told to stop.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use apalis_core::{
    monitor::{Monitor, MonitorError},
    worker::{builder::WorkerBuilder, ext::parallelize::ParallelizeExt},
};
use futures_util::FutureExt;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Error, Job, Options, Priority, Queue,
    job::{Envelope, Unreadable},
    lane::{Lane, LaneBackend, Shared},
    store::{Claimed, Verdict},
};

/// For handlers that were cut short to be dropped.
const CUT: Duration = Duration::from_secs(1);
/// For the last word to the store. Longer and the lease says it anyway.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Longest cause that is kept, in bytes.
const CAUSE_LIMIT: usize = 2_000;

/// How many jobs of each priority run at once in this process. With 0 it leaves that priority to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// For [`Priority::Critical`].
    pub critical: usize,
    /// For [`Priority::Default`].
    pub default: usize,
    /// For [`Priority::Low`].
    pub low: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { critical: 16, default: 8, low: 2 }
    }
}

impl Concurrency {
    fn of(self, priority: Priority) -> usize {
        match priority {
            Priority::Critical => self.critical,
            Priority::Default => self.default,
            Priority::Low => self.low,
        }
    }
}

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

/// Runs jobs until `shutdown` resolves, then finishes what runs, for [`Options::drain`] at most, and gives back the rest
/// uncounted.
///
/// A handler that panics or takes longer than its job's timeout has failed with that cause. A queue that cannot be
/// reached is waited for, however long. Dropping the future stops everything at once; what ran is then taken over when
/// its lease has run out, with the attempt counted.
///
/// # Errors
/// When the queue did not hear which jobs were finished or given back at the end: others take those over when their
/// leases have run out.
pub async fn run<H, F, S>(queue: Queue, handler: H, concurrency: Concurrency, shutdown: S) -> Result<(), Error>
where
    H: Fn(Job, JobContext) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let handler = Arc::new(handler);
    let shared = Shared::new();
    let halt = CancellationToken::new();
    let _cut_when_dropped = halt.clone().drop_guard();
    let worker: Arc<str> = worker_name(&queue).into();
    let lanes: Vec<Lane> = Priority::ALL
        .into_iter()
        .filter(|priority| concurrency.of(*priority) > 0)
        .map(|priority| {
            let capacity = concurrency.of(priority);
            Lane::new(queue.clone(), priority, Arc::clone(&worker), capacity, Arc::clone(&shared), halt.clone())
        })
        .collect();

    let stop = CancellationToken::new();
    let mut helpers = JoinSet::new();
    helpers.spawn(stop_when(shutdown, stop.clone(), lanes.clone()));
    for lane in &lanes {
        helpers.spawn(lane.clone().keep());
    }
    while !stop.is_cancelled() {
        let ended = work(&lanes, &handler, &shared, stop.clone()).await;
        if !stop.is_cancelled() {
            warn!(?ended, "the workers ended by themselves; starting them again");
            sleep(Duration::from_secs(1)).await;
        }
    }

    halt.cancel();
    shared.tasks.close();
    if timeout(CUT, shared.tasks.wait()).await.is_err() {
        warn!("a job does not yield; it is given back while it still runs");
    }
    helpers.shutdown().await;
    last_word(&lanes).await
}

/// Host, process and a random part: two processes never share a name, nor one with its successor.
fn worker_name(queue: &Queue) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host: String = host.unwrap_or_default().chars().filter(|c| c.is_ascii_graphic()).collect();
    format!("{host}-{}-{}", std::process::id(), queue.clock.new_id().simple())
}

async fn stop_when(shutdown: impl Future<Output = ()>, stop: CancellationToken, lanes: Vec<Lane>) {
    shutdown.await;
    for lane in &lanes {
        lane.claims.close();
    }
    stop.cancel();
}

/// Runs the workers until `stop`, and then until they have drained.
async fn work<H, F>(
    lanes: &[Lane],
    handler: &Arc<H>,
    shared: &Arc<Shared>,
    stop: CancellationToken,
) -> Result<(), MonitorError>
where
    H: Fn(Job, JobContext) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    if lanes.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    let drain = lanes.first().map_or(Duration::ZERO, |lane| lane.options().drain);
    let mut monitor = Monitor::new()
        .should_restart(|worker, error| {
            warn!(worker = worker.name(), %error, "a worker failed; starting it again");
            true
        })
        .with_terminator(async move { sleep(drain).await });
    for lane in lanes {
        let (lane, handler, shared) = (lane.clone(), Arc::clone(handler), Arc::clone(shared));
        monitor = monitor.register(move |_| {
            let (perform, handler, shared) = (lane.clone(), Arc::clone(&handler), Arc::clone(&shared));
            WorkerBuilder::new(lane.name())
                .backend(LaneBackend::new(lane.clone()))
                .parallelize(move |job| shared.tasks.spawn(job))
                .build(move |job: Claimed| perform_job(perform.clone(), Arc::clone(&handler), job))
        });
    }
    monitor
        .run_with_signal(async {
            stop.cancelled().await;
            Ok(())
        })
        .await
}

async fn last_word(lanes: &[Lane]) -> Result<(), Error> {
    let mut result = Ok(());
    for lane in lanes {
        lane.claims.give_back_all();
        let flushed = match timeout(LAST_WORD, lane.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(Error::Redis(redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))),
        };
        result = result.and(flushed);
    }
    result
}

/// Runs one job to its end, unless its lease is lost meanwhile.
async fn perform_job<H, F>(lane: Lane, handler: Arc<H>, job: Claimed)
where
    H: Fn(Job, JobContext) -> F,
    F: Future<Output = Outcome>,
{
    let Some(lost) = lane.claims.start(&job) else { return };
    tokio::select! {
        () = lost.cancelled() => debug!(id = job.id, "a job was cut short"),
        outcome = attempt(&*handler, &job) => {
            let verdict = verdict(outcome, &job, lane.options());
            lane.claims.settle(&job, verdict);
        }
    }
}

async fn attempt<H, F>(handler: &H, job: &Claimed) -> Outcome
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

fn verdict(outcome: Outcome, job: &Claimed, options: &Options) -> Verdict {
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
    use super::*;

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

    fn claimed(body: Vec<u8>) -> Claimed {
        Claimed { id: "1".to_owned(), body, attempts: 0, max_attempts: 3, token: "t".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_takes_longer_than_its_job_may_is_dropped_and_has_failed() {
        let job = Job::QuotaSync(crate::quota_sync::Payload {});
        let dropped = CancellationToken::new();
        let guard = Arc::new(std::sync::Mutex::new(Some(dropped.clone().drop_guard())));
        let forever = |_, _| {
            let guard = guard.lock().unwrap().take();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        };
        let outcome = attempt(&forever, &claimed(Envelope::encode(&job, None).unwrap())).await;
        assert_eq!(outcome, Outcome::Retry("took longer than 30 s".to_owned()));
        assert!(dropped.is_cancelled());
    }

    #[tokio::test]
    async fn what_a_newer_version_pushed_is_left_for_a_newer_worker() {
        let never = |_, _| async { Outcome::Done };
        let outcome = attempt(&never, &claimed(br#"{"v":9,"job":{}}"#.to_vec())).await;
        assert_eq!(outcome, Outcome::Retry("its layout 9 is newer than this worker's 2".to_owned()));
    }

    #[tokio::test]
    async fn poison_in_memory_is_dead_with_a_cause_and_the_others_flow() {
        let queue = Queue::connect("memory:", Options::default(), tollgate_domain::Clock::System).await.unwrap();
        // Before the sound one in line: due as early, and their ids sort first.
        let poison = |id: &str| crate::store::NewJob {
            id: id.to_owned(),
            body: b"{\"v\":1,".to_vec(),
            max_attempts: 5,
            tenants: crate::store::Tenants::default(),
            run_at: None,
        };
        queue.store.push(Priority::Critical, vec![poison("0-a"), poison("0-b")]).await.unwrap();
        queue.push(&Job::QuotaSync(crate::quota_sync::Payload {}), crate::Push::default()).await.unwrap();
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

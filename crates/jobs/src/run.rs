//! Runs three apalis workers, one per priority, until a shutdown is requested.

use std::{future::Future, sync::Arc, time::Duration};

use apalis::prelude::{Monitor, MonitorError, ParallelizeExt, WorkerBuilder};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Error, Job, Priority, Queue,
    attempt::{JobContext, Outcome, run_leased},
    priority_worker::{PriorityBackend, PriorityWorker, Shared},
    record::LeasedJob,
};

/// How long the runtime may take to drop handlers that were cut short.
const CUT: Duration = Duration::from_secs(1);
/// How long the last call to the store may take. When it fails nothing is lost, because the leases run out.
const LAST_CALL: Duration = Duration::from_secs(3);

/// How many jobs of each priority run at once in this process. 0 leaves that priority to other processes.
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

/// Runs jobs until `shutdown` resolves. Jobs that run then may finish within [`Options::drain`](crate::Options::drain);
/// the others are given back, and no attempt is counted.
///
/// A handler that panics or exceeds its job's timeout has failed with that cause. While the queue cannot be reached,
/// this waits without end. Dropping the future stops everything at once: other workers take over the running jobs when
/// their leases have run out, and that attempt counts.
///
/// # Errors
/// When the last call to the queue fails, so that it does not know which jobs were finished or given back. Other
/// workers take those over when their leases have run out.
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
    let process: Arc<str> = process_name(&queue).into();
    let workers: Vec<PriorityWorker> = Priority::ALL
        .into_iter()
        .filter(|priority| concurrency.of(*priority) > 0)
        .map(|priority| {
            let capacity = concurrency.of(priority);
            PriorityWorker::new(
                queue.clone(),
                priority,
                Arc::clone(&process),
                capacity,
                Arc::clone(&shared),
                halt.clone(),
            )
        })
        .collect();

    let stop = CancellationToken::new();
    let mut helpers = JoinSet::new();
    helpers.spawn(stop_when(shutdown, stop.clone(), workers.clone()));
    for worker in &workers {
        helpers.spawn(worker.clone().keep_leases());
    }
    while !stop.is_cancelled() {
        let ended = work(&workers, &handler, &shared, stop.clone()).await;
        if !stop.is_cancelled() {
            warn!(?ended, "the workers ended by themselves; starting them again");
            sleep(Duration::from_secs(1)).await;
        }
    }

    halt.cancel();
    shared.tasks.close();
    if timeout(CUT, shared.tasks.wait()).await.is_err() {
        warn!("a job does not stop; it is given back while it still runs");
    }
    helpers.shutdown().await;
    last_call(&workers).await
}

/// Host, process id and a random part: unique among all processes, including later ones with the same id.
fn process_name(queue: &Queue) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host: String = host.unwrap_or_default().chars().filter(|c| c.is_ascii_graphic()).collect();
    format!("{host}-{}-{}", std::process::id(), queue.clock.new_id().simple())
}

async fn stop_when(shutdown: impl Future<Output = ()>, stop: CancellationToken, workers: Vec<PriorityWorker>) {
    shutdown.await;
    for worker in &workers {
        worker.leases.close();
    }
    stop.cancel();
}

/// Runs the workers until `stop` is cancelled and they have drained.
async fn work<H, F>(
    workers: &[PriorityWorker],
    handler: &Arc<H>,
    shared: &Arc<Shared>,
    stop: CancellationToken,
) -> Result<(), MonitorError>
where
    H: Fn(Job, JobContext) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    if workers.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    let drain = workers.first().map_or(Duration::ZERO, |worker| worker.options().drain);
    let mut monitor = Monitor::new()
        .should_restart(|worker, error| {
            warn!(worker = worker.name(), %error, "a worker failed; starting it again");
            true
        })
        .with_terminator(async move { sleep(drain).await });
    for worker in workers {
        let (worker, handler, shared) = (worker.clone(), Arc::clone(handler), Arc::clone(shared));
        monitor = monitor.register(move |_| {
            let (leases, handler, shared) = (Arc::clone(&worker.leases), Arc::clone(&handler), Arc::clone(&shared));
            WorkerBuilder::new(worker.name())
                .backend(PriorityBackend::new(worker.clone()))
                .parallelize(move |job| shared.tasks.spawn(job))
                .build(move |job: LeasedJob| run_leased(Arc::clone(&leases), Arc::clone(&handler), job))
        });
    }
    monitor
        .run_with_signal(async {
            stop.cancelled().await;
            Ok(())
        })
        .await
}

async fn last_call(workers: &[PriorityWorker]) -> Result<(), Error> {
    let mut result = Ok(());
    for worker in workers {
        worker.leases.give_back_all();
        let flushed = match timeout(LAST_CALL, worker.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(Error::Redis(redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))),
        };
        result = result.and(flushed);
    }
    result
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{Clock, TenantId};

    use super::*;
    use crate::{
        Options, Push,
        job::quota_sync,
        record::{NewJob, Tenants},
    };

    #[tokio::test]
    async fn poison_in_memory_is_dead_with_a_cause_and_the_others_flow() {
        let queue = Queue::connect("memory:", Options::default(), Clock::System).await.unwrap();
        // They come before the good one: they are due at the same time, and their ids sort first.
        let poison = |id: &str| NewJob {
            id: id.to_owned(),
            body: b"{\"v\":1,".to_vec(),
            max_attempts: 5,
            tenants: Tenants::default(),
            run_at: None,
        };
        queue.store.push(Priority::Critical, vec![poison("0-a"), poison("0-b")]).await.unwrap();
        queue.push(&Job::QuotaSync(quota_sync::Payload {}), Push::default()).await.unwrap();
        let handled = CancellationToken::new();
        let (told, shutdown) = (handled.clone(), handled.cancelled_owned());
        let handler = move |_, _| {
            told.cancel();
            async { Outcome::Done }
        };
        run(queue.clone(), handler, Concurrency { critical: 1, default: 0, low: 0 }, shutdown).await.unwrap();
        let (dead, _) = queue.dead(TenantId::DEFAULT, 1, 10).await.unwrap();
        assert_eq!(
            dead.iter().map(|job| (job.id.as_str(), job.attempts)).collect::<Vec<_>>(),
            [("0-b", 1), ("0-a", 1)]
        );
        assert!(dead.iter().all(|job| job.cause.contains("cannot be decoded") && job.name == "unreadable"));
    }
}

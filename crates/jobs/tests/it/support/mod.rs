//! What the stories share: a queue on every store, workers, and waiting for something to become true.

pub(crate) mod proxy;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::{sync::oneshot, task::JoinHandle};
use tollgate_domain::{
    BootId, Clock, TenantId,
    usage::{JournalSpan, UsageBatch, ViolationBatch},
};
use tollgate_jobs::{
    Concurrency, Depth, Error, Job, JobContext, Options, Outcome, Priority, Push, Pushed, Queue,
    job::{quota_sync, retention},
    run,
};
use tollgate_test_servers::redis::Redis;

/// Whose the jobs are that carry nobody's rows.
pub(crate) const OPERATOR: TenantId = TenantId::DEFAULT;

/// A queue on one store, and the server behind it.
pub(crate) struct Stage {
    pub(crate) queue: Queue,
    pub(crate) redis: Option<Redis>,
}

impl Stage {
    /// One per store.
    pub(crate) async fn all(options: Options) -> Vec<Self> {
        vec![Self::memory(options.clone()).await, Self::redis(options).await]
    }

    pub(crate) async fn memory(options: Options) -> Self {
        Self { queue: Queue::connect("memory:", options, Clock::System).await.unwrap(), redis: None }
    }

    pub(crate) async fn redis(options: Options) -> Self {
        let redis = Redis::start();
        Self { queue: Queue::connect(&redis.url(), options, Clock::System).await.unwrap(), redis: Some(redis) }
    }

    /// The same queue as another process has it: on Redis with a connection of its own.
    pub(crate) async fn other_process(&self, options: Options) -> Queue {
        match &self.redis {
            Some(redis) => Queue::connect(&redis.url(), options, Clock::System).await.unwrap(),
            None => self.queue.clone(),
        }
    }

    pub(crate) fn server(&mut self) -> &mut Redis {
        self.redis.as_mut().unwrap()
    }
}

/// A short lease, so that a story takes moments.
pub(crate) fn quick() -> Options {
    Options { lease: Duration::from_millis(900), ..Options::default() }
}

/// Three attempts, critical.
pub(crate) fn sync() -> Job {
    Job::QuotaSync(quota_sync::Payload {})
}

/// Critical; `number` can be read back.
pub(crate) fn usage(number: u64) -> Job {
    let span = JournalSpan { boot: BootId::from(uuid::Uuid::nil()), from: number, to: number + 1 };
    Job::UsageApply(UsageBatch { span, chunks: vec![] })
}

/// Default priority.
pub(crate) fn violations() -> Job {
    let span = JournalSpan { boot: BootId::from(uuid::Uuid::nil()), from: 0, to: 1 };
    Job::ViolationRecord(ViolationBatch { span, rows: vec![] })
}

/// Low priority, five attempts.
pub(crate) fn clean_up() -> Job {
    Job::Retention(retention::Payload { at: DateTime::<Utc>::UNIX_EPOCH })
}

pub(crate) fn with_id(id: impl Into<String>) -> Push {
    Push { id: Some(id.into()), ..Push::default() }
}

/// A worker in this process.
pub(crate) struct Worker {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
}

impl Worker {
    pub(crate) fn start<H, F>(queue: &Queue, handler: H) -> Self
    where
        H: Fn(Job, JobContext) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self::start_with(queue, Concurrency::default(), handler)
    }

    pub(crate) fn start_with<H, F>(queue: &Queue, concurrency: Concurrency, handler: H) -> Self
    where
        H: Fn(Job, JobContext) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        Self { stop, running: tokio::spawn(run(queue.clone(), handler, concurrency, shutdown)) }
    }

    /// Gracefully.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.stop.send(()).unwrap();
        self.running.await.unwrap()
    }

    /// As `kill -9` would: nothing is said to the store.
    pub(crate) async fn kill(self) {
        self.running.abort();
        assert!(self.running.await.unwrap_err().is_cancelled());
    }
}

/// What handlers saw, in order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<(Instant, JobContext)>>>);

impl Seen {
    pub(crate) fn note(&self, context: &JobContext) {
        self.0.lock().unwrap().push((Instant::now(), context.clone()));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn all(&self) -> Vec<(Instant, JobContext)> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn attempts(&self) -> Vec<u32> {
        self.all().into_iter().map(|(_, context)| context.attempt).collect()
    }
}

/// Waits until `condition` holds; fails the test after 30 s.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited 30 s in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Over all priorities.
pub(crate) async fn total(queue: &Queue, part: fn(&Depth) -> u64) -> u64 {
    queue.depths().await.unwrap().iter().map(part).sum()
}

/// Nothing waits, runs or is scheduled, and `dead` jobs are dead.
pub(crate) async fn settled(queue: &Queue, dead: u64) {
    until("the queue to be settled", async || {
        total(queue, |depth| depth.waiting + depth.scheduled + depth.leased).await == 0
    })
    .await;
    assert_eq!(total(queue, |depth| depth.dead).await, dead);
}

pub(crate) fn depth_of(depths: &[Depth], priority: Priority) -> &Depth {
    depths.iter().find(|depth| depth.priority == priority).unwrap()
}

pub(crate) async fn add(queue: &Queue, job: &Job, push: Push) {
    assert_eq!(queue.push(job, push).await.unwrap(), Pushed::Added);
}

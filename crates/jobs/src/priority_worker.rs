//! One priority's worker: the apalis backend that fetches its jobs, and the loop that keeps their leases.
//!
//! apalis never sees an error of the store, because an error would end the worker. While the store is down, the queue
//! looks empty.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{
    backend::{
        Backend, BackendConfig,
        finalize::Ephemeral,
        persistence::{Persisted, Persistence, TaskEvent},
    },
    task::{Task, builder::TaskBuilder, task_id::TaskId},
    worker::context::WorkerContext,
};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::layer::util::Identity;
use tracing::{error, warn};

use crate::{Error, Options, Priority, Queue, leases::Leases, record::LeasedJob, redis::is_logged};

/// How often an idle worker asks for jobs. A new job waits 10 ms on average, and each call
/// costs Redis a few microseconds.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Pause after a failed call: long enough to spare a Redis that is starting, short enough to be back soon.
const PAUSE: Duration = Duration::from_millis(250);
/// Pause before a failed worker starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs jobs of one priority. Clones are the same worker.
#[derive(Clone)]
pub(crate) struct PriorityWorker {
    pub(crate) priority: Priority,
    pub(crate) leases: Arc<Leases>,
    queue: Queue,
    process: Arc<str>,
    shared: Arc<Shared>,
}

/// What the workers of one run share.
pub(crate) struct Shared {
    /// Everything spawned that holds or may get a lease.
    pub(crate) tasks: TaskTracker,
    /// Makes lease tokens unique within this process.
    fetches: AtomicU64,
    /// Whether the store's last reply could not be parsed, so that this is logged once.
    confused: AtomicBool,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { tasks: TaskTracker::new(), fetches: AtomicU64::new(0), confused: AtomicBool::new(false) })
    }
}

impl PriorityWorker {
    /// `process` is unique among all processes: it is part of every token.
    pub(crate) fn new(
        queue: Queue,
        priority: Priority,
        process: Arc<str>,
        capacity: usize,
        shared: Arc<Shared>,
        halt: CancellationToken,
    ) -> Self {
        Self { priority, leases: Arc::new(Leases::new(capacity, halt)), queue, process, shared }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.process, self.priority.as_str())
    }

    pub(crate) fn options(&self) -> &Options {
        &self.queue.options
    }

    /// Sends the ends of jobs as they occur and renews the leases. Never returns.
    pub(crate) async fn keep_leases(self) {
        let mut beat = interval(self.queue.options.lease / 3);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let result = tokio::select! {
                () = self.leases.settled() => Ok(()),
                _ = beat.tick() => self.renew().await,
            };
            if result.is_err() || self.flush().await.is_err() {
                sleep(PAUSE).await;
                // What could not be sent still waits, and nothing else would wake this loop.
                self.leases.notify_settled();
            }
        }
    }

    /// Tells the store which jobs have ended.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let settlements = self.leases.settlements();
        if settlements.is_empty() {
            return Ok(());
        }
        self.watched(self.queue.store.settle(self.priority, &settlements).await)?;
        self.leases.confirmed(&settlements);
        Ok(())
    }

    async fn renew(&self) -> Result<(), Error> {
        let tokens = self.leases.tokens();
        if tokens.is_empty() {
            return Ok(());
        }
        let lost = self.watched(self.queue.store.renew(self.priority, &tokens).await)?;
        if !lost.is_empty() {
            warn!(worker = %self.name(), jobs = lost.len(), "leases ran out; other workers run the jobs");
            self.leases.lose(&tokens, &lost);
        }
        Ok(())
    }

    /// Leases as many jobs as there is room for; returns none while the store is down.
    async fn fetch(&self) -> Vec<LeasedJob> {
        let limit = self.leases.free().min(self.queue.options.batch);
        if limit == 0 {
            return Vec::new();
        }
        let worker = self.clone();
        // In a task of its own: apalis drops this future when it closes, and a lease must not be forgotten in between.
        let leasing = self.shared.tasks.spawn(async move {
            let fetch = worker.shared.fetches.fetch_add(1, Ordering::Relaxed);
            let token: Arc<str> = format!("{}#{fetch}", worker.process).into();
            let leased = worker.watched(worker.queue.store.lease(worker.priority, &token, limit).await)?;
            worker.leases.took(&leased);
            Ok::<_, Error>(leased)
        });
        if let Ok(Ok(leased)) = leasing.await {
            return leased;
        }
        sleep(PAUSE).await;
        Vec::new()
    }

    /// Logs once that the store's replies cannot be parsed. An outage is already in the log.
    fn watched<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => {
                if self.shared.confused.load(Ordering::Relaxed) {
                    self.shared.confused.store(false, Ordering::Relaxed);
                }
            }
            Err(error) => {
                if !is_logged(error) && !self.shared.confused.swap(true, Ordering::Relaxed) {
                    error!(%error, "cannot parse the reply of the queue's Redis; trying again");
                }
            }
        }
        result
    }
}

impl Persistence for PriorityWorker {
    type Compact = LeasedJob;
    type Response = ();
    type Error = Infallible;

    /// Called when a worker starts, including after a failure.
    async fn register(&mut self, worker: &WorkerContext) -> Result<(), Infallible> {
        if worker.restarts() > 0 {
            self.leases.give_back_taken();
            sleep(RESTART_PAUSE).await;
        }
        Ok(())
    }

    /// apalis calls this only between fetches; [`PriorityWorker::keep_leases`] renews at any time instead.
    async fn heartbeat(&mut self, _: &WorkerContext) -> Result<(), Infallible> {
        Ok(())
    }

    async fn fetch_next(&mut self, _: &WorkerContext) -> Result<Vec<Task<LeasedJob>>, Infallible> {
        let leased = self.fetch().await;
        Ok(leased
            .into_iter()
            .map(|job| {
                let id = TaskId::from_string(job.id.clone());
                let (attempts, max_attempts) = (job.attempts as usize, job.max_attempts as usize);
                TaskBuilder::new(job).task_id(id).attempt(attempts).max_attempts(max_attempts).build()
            })
            .collect())
    }

    async fn reenqueue_abandoned(&mut self, tasks: Vec<Task<LeasedJob>>, _: &WorkerContext) -> Result<u64, Infallible> {
        self.leases.give_back_taken();
        Ok(tasks.len() as u64)
    }

    /// Never called: [`PriorityBackend`] installs no event layer, because apalis delivers events only between fetches
    /// and none while it drains. A job settles itself in [`Leases`].
    async fn handle_events(&mut self, _: Vec<TaskEvent<()>>, _: &WorkerContext) -> Result<(), Infallible> {
        Ok(())
    }

    /// Never called: jobs are added by [`Queue::push`].
    async fn push_tasks(&mut self, _: Vec<Task<LeasedJob>>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A [`PriorityWorker`] as apalis polls it: at a steady pace, and at once when there is room again.
pub(crate) struct PriorityBackend {
    persisted: Persisted<PriorityWorker>,
    polls: Interval,
}

impl PriorityBackend {
    /// Must be called within a runtime.
    pub(crate) fn new(worker: PriorityWorker) -> Self {
        let mut polls = interval(POLL_EVERY);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { persisted: Persisted::new(worker), polls }
    }
}

impl Backend for PriorityBackend {
    type Task = Task<LeasedJob>;
    type Error = Infallible;

    fn poll_ready(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        let beat = self.persisted.options().lease;
        self.persisted.poll_ready(cx, worker, beat)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<LeasedJob>, Infallible>>> {
        self.persisted.leases.wake_on_room(cx.waker());
        // Poll until pending, or the next tick would wake nothing.
        while self.polls.poll_tick(cx).is_ready() {}
        self.persisted.poll_next(cx, worker)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.persisted.poll_close(cx, worker)
    }
}

impl BackendConfig for PriorityBackend {
    type Args = LeasedJob;
    type Id = String;
    type Kind = Ephemeral;
    type Config = Options;
    type Layer = Identity;

    fn config(&self) -> &Options {
        self.persisted.options()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

//! One priority's queue as an apalis backend, and the care for its leases.
//!
//! No error of the store reaches apalis, which would end the worker: a store that is away is a queue that is empty for a
//! while.

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
use tracing::{error, info, warn};

use crate::{Error, Options, Priority, Queue, claims::Claims, store::Claimed};

/// An idle worker looks this often, so an idle queue's job waits 10 ms on average; a look costs Redis some microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After a failed call. Long enough not to hammer a Redis that comes up, short enough to be back at once.
const PAUSE: Duration = Duration::from_millis(250);
/// Before a worker that failed starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What runs jobs of one priority. Clones are the same lane.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) priority: Priority,
    pub(crate) claims: Arc<Claims>,
    queue: Queue,
    worker: Arc<str>,
    shared: Arc<Shared>,
}

/// What the lanes of one run share.
pub(crate) struct Shared {
    /// Everything spawned that holds or may get a lease.
    pub(crate) tasks: TaskTracker,
    /// Makes tokens unique.
    fetches: AtomicU64,
    /// The last call failed: an outage is logged once.
    away: AtomicBool,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { tasks: TaskTracker::new(), fetches: AtomicU64::new(0), away: AtomicBool::new(false) })
    }
}

impl Lane {
    /// `worker` is unique among all processes: it is part of every token.
    pub(crate) fn new(
        queue: Queue,
        priority: Priority,
        worker: Arc<str>,
        capacity: usize,
        shared: Arc<Shared>,
        halt: CancellationToken,
    ) -> Self {
        Self { priority, claims: Arc::new(Claims::new(capacity, halt)), queue, worker, shared }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.worker, self.priority.as_str())
    }

    pub(crate) fn options(&self) -> &Options {
        &self.queue.options
    }

    /// Sends ends of jobs as they come and prolongs the leases, for ever.
    pub(crate) async fn keep(self) {
        let mut beat = interval(self.queue.options.lease / 3);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let result = tokio::select! {
                () = self.claims.settled() => Ok(()),
                _ = beat.tick() => self.renew().await,
            };
            if result.is_err() || self.flush().await.is_err() {
                sleep(PAUSE).await;
                // What could not be sent waits still, and nobody else will say so.
                self.claims.give_notice();
            }
        }
    }

    /// Tells the store which jobs have ended.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let settlements = self.claims.settlements();
        if settlements.is_empty() {
            return Ok(());
        }
        self.watched(self.queue.store.settle(self.priority, &settlements).await)?;
        self.claims.confirmed(&settlements);
        Ok(())
    }

    async fn renew(&self) -> Result<(), Error> {
        let leases = self.claims.leases();
        if leases.is_empty() {
            return Ok(());
        }
        let lost = self.watched(self.queue.store.renew(self.priority, &leases).await)?;
        if !lost.is_empty() {
            warn!(worker = %self.name(), jobs = lost.len(), "leases ran out before they were renewed; others have these jobs");
            self.claims.lose(&leases, &lost);
        }
        Ok(())
    }

    /// Leases as many as there is room for; none when the store is away.
    async fn fetch(&self) -> Vec<Claimed> {
        let limit = self.claims.free().min(self.queue.options.batch);
        if limit == 0 {
            return Vec::new();
        }
        let lane = self.clone();
        // A task of its own: apalis drops this future when it closes, and a lease must not be forgotten on the way.
        let claim = self.shared.tasks.spawn(async move {
            let fetch = lane.shared.fetches.fetch_add(1, Ordering::Relaxed);
            let token: Arc<str> = format!("{}#{fetch}", lane.worker).into();
            let claimed = lane.watched(lane.queue.store.claim(lane.priority, &token, limit).await)?;
            lane.claims.took(&claimed);
            Ok::<_, Error>(claimed)
        });
        if let Ok(Ok(claimed)) = claim.await {
            return claimed;
        }
        sleep(PAUSE).await;
        Vec::new()
    }

    /// Logs when the store goes away and when it is back.
    fn watched<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => {
                if self.shared.away.load(Ordering::Relaxed) && self.shared.away.swap(false, Ordering::Relaxed) {
                    info!("the queue answers again");
                }
            }
            Err(error) => {
                if !self.shared.away.swap(true, Ordering::Relaxed) {
                    error!(%error, "the queue does not answer; trying until it does");
                }
            }
        }
        result
    }
}

impl Persistence for Lane {
    type Compact = Claimed;
    type Response = ();
    type Error = Infallible;

    /// A worker starts: the first, or the next one after one failed.
    async fn register(&mut self, worker: &WorkerContext) -> Result<(), Infallible> {
        if worker.restarts() > 0 {
            self.claims.give_back_taken();
            sleep(RESTART_PAUSE).await;
        }
        Ok(())
    }

    /// apalis beats only between fetches; [`Lane::keep`] renews whatever the worker does.
    async fn heartbeat(&mut self, _: &WorkerContext) -> Result<(), Infallible> {
        Ok(())
    }

    async fn fetch_next(&mut self, _: &WorkerContext) -> Result<Vec<Task<Claimed>>, Infallible> {
        let claimed = self.fetch().await;
        Ok(claimed
            .into_iter()
            .map(|job| {
                let id = TaskId::from_string(job.id.clone());
                let (attempts, max_attempts) = (job.attempts as usize, job.max_attempts as usize);
                TaskBuilder::new(job).task_id(id).attempt(attempts).max_attempts(max_attempts).build()
            })
            .collect())
    }

    async fn reenqueue_abandoned(&mut self, tasks: Vec<Task<Claimed>>, _: &WorkerContext) -> Result<u64, Infallible> {
        self.claims.give_back_taken();
        Ok(tasks.len() as u64)
    }

    /// Never called: [`LaneBackend`] installs no event layer, since apalis hands events on only between fetches, and none
    /// while it drains. A job settles itself in [`Claims`].
    async fn handle_events(&mut self, _: Vec<TaskEvent<()>>, _: &WorkerContext) -> Result<(), Infallible> {
        Ok(())
    }

    /// Never called: jobs come in by [`Queue::push`].
    async fn push_tasks(&mut self, _: Vec<Task<Claimed>>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A [`Lane`] that apalis polls: it looks at a steady pace, and at once when there is room again.
pub(crate) struct LaneBackend {
    persisted: Persisted<Lane>,
    look: Interval,
}

impl LaneBackend {
    /// Must be called within a runtime.
    pub(crate) fn new(lane: Lane) -> Self {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { persisted: Persisted::new(lane), look }
    }
}

impl Backend for LaneBackend {
    type Task = Task<Claimed>;
    type Error = Infallible;

    fn poll_ready(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        let beat = self.persisted.options().lease;
        self.persisted.poll_ready(cx, worker, beat)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Claimed>, Infallible>>> {
        self.persisted.claims.wake_on_room(cx.waker());
        // Polled until pending, or the next tick would wake nobody.
        while self.look.poll_tick(cx).is_ready() {}
        self.persisted.poll_next(cx, worker)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.persisted.poll_close(cx, worker)
    }
}

impl BackendConfig for LaneBackend {
    type Args = Claimed;
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

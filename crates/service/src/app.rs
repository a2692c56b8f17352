//! Opens the stores, the journal and the metrics once, and closes them so that nothing counted is lost.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate_domain::{AdminToken, Clock, JournalStream, Plan, PlanId, TenantId, TokenId, TokenSecret};
use tollgate_jobs::Queue;
use tollgate_journal::Journal;
use tollgate_limiter::{HashKey, Limiter};
use tollgate_repository::Repository;

use crate::{
    Config, Error, StartError,
    access::{secret_probe::SecretProbe, token_cache::TokenCache},
    check::{cache::KeyCache, effective_limits::LimitsPool},
    config::SyncMode,
    metering::refusals::Refusals,
    open,
    ops::{low_priority::LowPriority, metrics::Metrics},
};

/// What a process uses the service for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers checks, keeps a journal and ships it.
    Api,
    /// Only runs jobs: keeps no journal and answers no checks.
    Worker,
}

/// The use cases, over the stores they need. Clones are cheap.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
    /// The database connections of this handle: those of requests, or of background work.
    repository: Repository,
}

struct Inner {
    config: Config,
    clock: Clock,
    /// For background work. A worker has none, because all of its work is background work.
    background: Option<(LowPriority, Repository)>,
    queue: Queue,
    limiter: Limiter,
    hash_key: HashKey,
    journal: Option<Journal>,
    cache: KeyCache,
    token_cache: TokenCache,
    secret_probe: SecretProbe,
    limits_pool: LimitsPool,
    refusals: Refusals,
    started: tokio::time::Instant,
    /// Per stream, in microseconds since the start: the database has everything that this
    /// node decided before that moment.
    stored_until: [AtomicU64; 2],
    metrics: Metrics,
    prepared: watch::Sender<bool>,
    draining: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Service {
    /// Opens the database, the limiter, the queue and (for the API) the journal, each chosen by its URL's scheme. A
    /// server that does not answer is no error here: calls that need it fail until it answers.
    ///
    /// With a manual clock, the shared counters use this process's time instead of Redis': for tests.
    pub async fn connect(config: Config, clock: Clock, role: Role) -> Result<Self, StartError> {
        match role {
            Role::Api => config.validate_for_api()?,
            Role::Worker => config.validate_for_worker()?,
        }
        let metrics = Metrics::new()?;
        let repository = open::repository(&config).await?;
        let limiter = open::limiter(&config, &clock).await?;
        let queue = Queue::connect(config.queue.url.expose(), tollgate_jobs::Options::default(), clock.clone()).await?;
        open::refuse_eviction(&queue).await?;
        let (journal, background) = match role {
            Role::Api => (Some(open::journal(&config, &clock)?), Some(open::background(&repository).await?)),
            Role::Worker => (None, None),
        };
        let cache = KeyCache::new(open::bounds(&config));
        let token_cache = TokenCache::new(open::bounds(&config));
        let hash_key = HashKey::new(config.limiter.hash_key.0);
        let refusals = Refusals::new(config.privacy.full_ip);
        let inner = Inner {
            started: tokio::time::Instant::now(),
            stored_until: [AtomicU64::new(0), AtomicU64::new(0)],
            config,
            clock,
            background,
            queue,
            limiter,
            hash_key,
            journal,
            cache,
            token_cache,
            secret_probe: SecretProbe::default(),
            limits_pool: LimitsPool::default(),
            refusals,
            metrics,
            prepared: watch::Sender::new(false),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Ok(Self { inner: Arc::new(inner), repository })
    }

    /// Updates the tables. On an empty database it also makes the default plans and the first admin token, from
    /// `TOLLGATE_BOOTSTRAP_TOKEN` (`bootstrap`) if that is set, and returns the token. Waits while the database is
    /// down, and makes the service ready when it is done.
    pub async fn prepare(&self, bootstrap: Option<&str>) -> Result<Option<TokenSecret>, StartError> {
        let chosen = match bootstrap.filter(|text| !text.is_empty()) {
            Some(text) => Some(TokenSecret::chosen(text).ok_or(StartError::BootstrapToken)?),
            None => None,
        };
        loop {
            match self.try_prepare(chosen.clone()).await {
                Err(StartError::Repository(error @ tollgate_repository::Error::Unavailable(_))) => {
                    tracing::warn!(%error, "cannot prepare the database; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error),
                Ok(first_token) => {
                    self.inner.prepared.send_replace(true);
                    return Ok(first_token);
                }
            }
        }
    }

    async fn try_prepare(&self, chosen: Option<TokenSecret>) -> Result<Option<TokenSecret>, StartError> {
        self.repository().migrate().await?;
        let secret = chosen.map_or_else(TokenSecret::generate, Ok)?;
        let now = self.clock().now();
        let id = TokenId(self.clock().new_id());
        let token = AdminToken::unlimited(id, TenantId::DEFAULT, "bootstrap", secret.prefix(), now);
        let plans = Plan::defaults(TenantId::DEFAULT, now, || PlanId(self.clock().new_id()));
        let first = self.repository().bootstrap(TenantId::DEFAULT, &plans, &token, &secret.hash()).await?;
        self.access().read_chosen_tokens().await?;
        Ok(first.then_some(secret))
    }

    /// Starts the shipper, the poll for changed keys and the snapshots. For the API only.
    pub fn start(&self) {
        crate::ops::background::start(self);
    }

    /// Makes the service not ready. Call it as soon as the process must stop.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Writes all refusals to the journal and waits until the database has all of the journal, at most `at_most`. The
    /// next process on this disk ships the rest. The worker must still be running.
    pub async fn ship_all(&self, at_most: Duration) {
        crate::metering::shipper::ship_all(self, at_most).await;
    }

    /// Stops what [`Service::start`] started, saves the counters of a memory limiter and closes the journal.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        crate::ops::snapshot::keep_counters(self).await;
        if let Some(journal) = &self.inner.journal
            && let Err(error) = journal.close()
        {
            tracing::error!(%error, "cannot close the journal; the next start reads it");
        }
        if let Some((_, repository)) = &self.inner.background {
            repository.close().await;
        }
        self.repository.close().await;
    }

    /// Whether load balancers may send requests here: prepared, and not draining.
    pub fn is_ready(&self) -> bool {
        self.is_prepared() && !self.inner.draining.load(Ordering::Acquire)
    }

    /// Whether the tables are up to date.
    pub fn is_prepared(&self) -> bool {
        *self.inner.prepared.borrow()
    }

    /// Waits until the tables are up to date.
    pub(crate) async fn prepared(&self) {
        // The sender lives as long as the service, so this cannot fail.
        let _ = self.inner.prepared.subscribe().wait_for(|prepared| *prepared).await;
    }

    /// Whether [`Service::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// The settings, already validated.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The only source of time.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The service's own metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The queue, from which the worker takes jobs.
    pub fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.inner.limiter
    }

    pub(crate) fn hash_key(&self) -> &HashKey {
        &self.inner.hash_key
    }

    pub(crate) fn limits_pool(&self) -> &LimitsPool {
        &self.inner.limits_pool
    }

    pub(crate) fn cache(&self) -> &KeyCache {
        &self.inner.cache
    }

    /// Forgets keys and limits made from these plans; they are read again at their next use.
    pub(crate) fn forget_plans<'a>(&self, plans: impl IntoIterator<Item = (TenantId, &'a str)>) {
        plans.into_iter().for_each(|(tenant_id, name)| self.limits_pool().forget_plan(tenant_id, name));
        self.cache().forget([]);
    }

    pub(crate) fn token_cache(&self) -> &TokenCache {
        &self.inner.token_cache
    }

    pub(crate) fn secret_probe(&self) -> &SecretProbe {
        &self.inner.secret_probe
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.inner.refusals
    }

    /// Time since the service was opened, by the monotonic clock, which tests do not move.
    pub(crate) fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }

    pub(crate) fn stored_until(&self, stream: JournalStream) -> &AtomicU64 {
        let [usage, violations] = &self.inner.stored_until;
        match stream {
            JournalStream::Usage => usage,
            JournalStream::Violations => violations,
        }
    }

    /// How long usage waits before it is in the database: older decisions are there. None when
    /// this process keeps no journal.
    pub(crate) fn unshipped(&self) -> Option<Duration> {
        self.inner.journal.as_ref()?;
        let stored = Duration::from_micros(self.stored_until(JournalStream::Usage).load(Ordering::Relaxed));
        Some(self.uptime().saturating_sub(stored))
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.inner.stop
    }

    pub(crate) fn journal(&self) -> Result<&Journal, Error> {
        self.inner.journal.as_ref().ok_or_else(|| Error::Internal("a worker keeps no journal".into()))
    }

    pub(crate) fn waits_for_disk(&self) -> bool {
        self.inner.config.journal.sync == SyncMode::Group
    }

    /// The same service with the database connections of background work.
    pub fn in_background(&self) -> Self {
        let repository = self.inner.background.as_ref().map_or(&self.repository, |(_, repository)| repository);
        Self { inner: self.inner.clone(), repository: repository.clone() }
    }

    /// Runs `task` on the background thread, which gives way to checks.
    pub fn spawn_in_background<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.inner.background {
            Some((low_priority, _)) => low_priority.spawn(task),
            None => tokio::spawn(task),
        }
    }

    /// The same, for tasks that [`Service::close`] waits for.
    pub(crate) fn track_in_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.spawn_in_background(self.inner.tasks.track_future(task)));
    }

    /// Runs `task` alongside requests; [`Service::close`] waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.inner.tasks.spawn(task)
    }
}

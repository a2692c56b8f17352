//! Services in one shape each, with all that they stand on.

use std::net::SocketAddr;

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::{
    answer::Answer,
    database::{Database, migrated_on},
    machine::resident,
    postgres::Postgres,
    process::Process,
    redis::Redis,
};

use crate::keys;

/// Where the server under load runs.
pub(crate) const SERVER_CORE: u32 = 0;
/// Where this process and all else runs.
pub(crate) const REST_CORE: u32 = 1;

/// A key is read anew after this long, which is longer than a run. Targets take turns: after the default of 30 s every key
/// would be read anew in every turn, and not once in 30 s of load.
const REFRESH_SECONDS: &str = "600";

/// A service and its keys. Everything ends with it.
pub(crate) struct Shape {
    /// The server under load.
    pub(crate) api: Process,
    /// Bytes that it had in memory once it was ready, all and without parts of files.
    pub(crate) idle_memory: (u64, u64),
    /// Keys far from their limit and their quota.
    pub(crate) far: Vec<String>,
    /// Keys far from their limit, without a quota.
    pub(crate) plain: Vec<String>,
    /// Keys over their limit.
    pub(crate) over: Vec<String>,
    /// Where its counters are.
    pub(crate) redis: Option<Redis>,
    /// What carries its jobs. A server of its own, so that the counters' cost can be told from the jobs'.
    pub(crate) queue: Option<Redis>,
    /// Where PostgreSQL and the worker are, in production's shape.
    pub(crate) behind: Option<Behind>,
    _dir: TempDir,
}

/// What stands behind the API in production's shape.
pub(crate) struct Behind {
    pub(crate) worker: Process,
    pub(crate) postgres: Postgres,
    _database: Database,
}

/// Whether PostgreSQL and the worker wait for an idle core.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Yields,
    Ordinary,
}

impl Shape {
    /// SQLite, counters in memory, the worker inside, as by default; a log line for every `sample`th successful check.
    pub(crate) async fn embedded(count: usize, sample: Option<u64>) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (database, snapshot, journal) = (path("tollgate.db"), path("limiter.snapshot"), path("journal"));
        let database = format!("sqlite://{database}");
        let mut settings = vec![
            ("database.url", database.as_str()),
            ("limiter.snapshot", &snapshot),
            ("journal.dir", &journal),
            ("log.format", "json"),
        ];
        let sample = sample.map(|n| n.to_string());
        settings.extend(sample.iter().map(|n| ("log.sample_checks", n.as_str())));
        let mut api = Process::api(&settings).pinned_to(SERVER_CORE);
        api.start_ready().await;
        let idle_memory = resident(api.pid());
        keys::plans(&api.admin()).await;
        let far = keys::copy(&api.admin(), &database, keys::FAR, count).await;
        Self {
            api,
            idle_memory,
            far,
            plain: Vec::new(),
            over: Vec::new(),
            redis: None,
            queue: None,
            behind: None,
            _dir: dir,
        }
    }

    /// PostgreSQL, Redis, a worker of its own. None, said aloud, where PostgreSQL or Redis is not installed.
    pub(crate) async fn production(count: usize) -> Option<Self> {
        let shape = Self::start(count, Priority::Yields).await?;
        Some(shape)
    }

    /// The same with PostgreSQL and worker at the ordinary priority, and the keys of one plan only.
    pub(crate) async fn start(count: usize, priority: Priority) -> Option<Self> {
        if !(Postgres::is_installed() && Redis::is_installed()) {
            eprintln!("PostgreSQL or Redis is not installed: the service on Redis is not measured");
            return None;
        }
        let (postgres, redis, queue) = (Postgres::start(), Redis::start(), Redis::start());
        // It and the worker would have machines of their own. Here they catch up while the generator rests.
        if priority == Priority::Yields {
            postgres.be_yielding();
        }
        let dir = TempDir::new().expect("a temporary folder");
        let database = migrated_on(&postgres).await;
        let (database_url, journal) = (database.url(), dir.path().join("journal").display().to_string());
        let (limiter_url, queue_url) = (redis.url_of(0), queue.url_of(0));
        // Twice the keys of both plans: they are not spread quite evenly over the cache's parts.
        let held = (4 * count).max(1_000).to_string();
        let settings = [
            ("database.url", database_url.as_str()),
            ("limiter.url", &limiter_url),
            ("queue.url", &queue_url),
            ("journal.dir", &journal),
            ("worker.in_process", "false"),
            ("log.format", "json"),
            ("cache.max_keys", &held),
            ("cache.max_mib", "8192"),
            ("cache.refresh_seconds", REFRESH_SECONDS),
        ];
        let mut api = Process::api(&settings).pinned_to(SERVER_CORE);
        api.start_ready().await;
        let worker = Process::worker(&settings);
        let mut worker = if priority == Priority::Yields { worker.yielding() } else { worker };
        worker.start_ready().await;
        keys::plans(&api.admin()).await;
        let over = keys::create(&api.admin(), keys::OVER, 1).await;
        let far = keys::copy(&api.admin(), &database_url, keys::FAR, count).await;
        let plain = match priority {
            Priority::Yields => keys::copy(&api.admin(), &database_url, keys::PLAIN, count).await,
            Priority::Ordinary => Vec::new(),
        };
        let idle_memory = resident(api.pid());
        let behind = Some(Behind { worker, _database: database, postgres });
        let (redis, queue) = (Some(redis), Some(queue));
        Some(Self { api, idle_memory, far, plain, over, redis, queue, behind, _dir: dir })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.api.client().base().trim_start_matches("http://").parse().expect("an address and a port")
    }

    /// One check's answer.
    pub(crate) async fn answer(&self) -> Answer {
        let client = self.api.client().with_credential(&self.far[0]);
        let body = json!({"endpoint": "/v1/messages", "method": "POST"});
        client.post("/api/public/v1/rate-limit/validate", &body).await.expect(200)
    }
}

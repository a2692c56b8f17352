//! One running service on a stack, in this process and on a clock that a story moves; and what stories do with it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tollgate_api::{Listeners, run};
use tollgate_domain::{AdminToken, Clock, Scope, ScopeSet, TenantId, TokenId, TokenSecret};
use tollgate_repository::Repository;
use tollgate_service::{Config, Role, Service};

use crate::{
    BOOTSTRAP_TOKEN,
    answer::{Answer, Client},
    database::{self, Database},
    postgres::Postgres,
    redis::Redis,
    wait::within_promise,
};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";
/// A moment with nothing special about it: no edge of a minute, hour, day or month is near.
const START: &str = "2031-05-15T10:20:30Z";
/// The contract: usage can be seen within 2 s.
pub const USAGE_WITHIN: Duration = Duration::from_secs(2);

/// What a service stands on. Nodes share it.
pub struct Stack {
    /// For messages.
    pub name: &'static str,
    settings: Vec<(&'static str, String)>,
    /// None on the embedded stack.
    pub redis: Option<Redis>,
    database: Option<Database>,
    dir: TempDir,
}

impl Stack {
    /// SQLite and memory: what `make run` starts.
    pub fn embedded() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let url = format!("sqlite://{}", dir.path().join("tollgate.db").display());
        let settings = vec![("database.url", url), ("limiter.snapshot", String::new())];
        Self { name: "SQLite and memory", settings, redis: None, database: None, dir }
    }

    /// PostgreSQL and Redis.
    pub async fn production() -> Self {
        let (database, redis) = (database::migrated().await, Redis::start());
        let settings = vec![
            ("database.url", database.url()),
            ("limiter.url", redis.url_of(0)),
            ("queue.url", redis.url_of(1)),
            // A loaded machine may be slow to schedule redis-server; stories about outages set the real budget.
            ("limiter.call_budget_ms", "1000".into()),
        ];
        let dir = TempDir::new().expect("a temporary folder");
        Self { name: "PostgreSQL and Redis", settings, redis: Some(redis), database: Some(database), dir }
    }

    /// Both; without PostgreSQL or Redis on the machine the first alone, aloud, and in CI a failure.
    pub async fn every() -> Vec<Self> {
        let mut stacks = vec![Self::embedded()];
        if Postgres::is_installed() && Redis::is_installed() {
            stacks.push(Self::production().await);
        } else {
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL or Redis is missing, and CI skips nothing");
            eprintln!("SKIPPED on PostgreSQL and Redis, which are not installed");
        }
        stacks
    }

    /// Settings for a process on this stack.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
    }

    /// All that its database holds.
    pub fn database_dump(&self) -> Vec<u8> {
        match &self.database {
            Some(database) => database.dump(),
            // The write-ahead log stands next to the file.
            None => ["tollgate.db", "tollgate.db-wal"]
                .iter()
                .flat_map(|file| std::fs::read(self.dir.path().join(file)).unwrap_or_default())
                .collect(),
        }
    }

    /// Ends every connection to PostgreSQL but the one it takes; SQLite's have no other end.
    pub async fn cut_database_connections(&self) {
        if self.database.is_some() {
            let pool = sqlx::PgPool::connect(self.database_url()).await.expect("PostgreSQL answers");
            let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
                       where datname = current_database() and pid <> pg_backend_pid()";
            sqlx::query(cut).execute(&pool).await.expect("a superuser");
            pool.close().await;
        }
    }

    /// Runs a statement on its database.
    pub async fn sql(&self, text: &str) -> Result<(), String> {
        let (url, text) = (self.database_url(), sqlx::AssertSqlSafe(text.to_owned()));
        let done = if url.starts_with("sqlite") {
            let mut connection = sqlx::SqliteConnection::connect(url).await.expect("SQLite opens");
            sqlx::raw_sql(text).execute(&mut connection).await.map(drop)
        } else {
            let mut connection = sqlx::PgConnection::connect(url).await.expect("PostgreSQL answers");
            sqlx::raw_sql(text).execute(&mut connection).await.map(drop)
        };
        done.map_err(|error| error.to_string())
    }

    /// Where its database is.
    pub fn database_url(&self) -> &str {
        &self.settings[0].1
    }
}

/// Tells a story on every stack and then sees that nothing is left behind: no job has died of it.
pub async fn on_every_stack(story: impl AsyncFn(&App)) {
    on_every_stack_with(&[], story).await;
}

/// The same with settings of the story's own.
pub async fn on_every_stack_with(settings: &[(&str, &str)], story: impl AsyncFn(&App)) {
    for stack in Stack::every().await {
        eprintln!("on {}", stack.name);
        let app = App::start(Arc::new(stack), settings).await;
        story(&app).await;
        let dead = app.admin.get("/api/v1/jobs/dead").await.expect(200);
        assert_eq!(dead.body["pagination"]["total"], 0, "jobs have died: {}", dead.text);
        let depths = app.service.queue().depths().await.expect("the queue answers");
        assert!(depths.iter().all(|depth| depth.dead == 0), "jobs of other tenants have died: {depths:?}");
        app.stop().await;
    }
}

/// A key that a story made.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Its text.
    pub secret: String,
    /// The record as it was created.
    pub record: Value,
}

/// A running service.
pub struct App {
    /// Its only clock.
    pub clock: Clock,
    /// May do everything.
    pub admin: Client,
    /// What it stands on.
    pub stack: Arc<Stack>,
    /// What answers behind HTTP, for what no route does.
    pub service: Service,
    settings: Vec<(String, String)>,
    stop: CancellationToken,
    node: JoinHandle<()>,
    _journal: TempDir,
}

impl App {
    /// Starts a node on `stack` with settings of its own.
    pub async fn start(stack: Arc<Stack>, settings: &[(&str, &str)]) -> Self {
        let start: DateTime<Utc> = START.parse().expect("a time");
        Self::start_at(stack, settings, Clock::manual(start)).await
    }

    /// A second node next to this one: same stack, settings and clock, a journal of its own.
    pub async fn another_node(&self) -> Self {
        let settings: Vec<_> = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Self::start_at(Arc::clone(&self.stack), &settings, self.clock.clone()).await
    }

    async fn start_at(stack: Arc<Stack>, settings: &[(&str, &str)], clock: Clock) -> Self {
        let journal = TempDir::new_in(stack.dir.path()).expect("a temporary folder");
        let journal_dir = journal.path().display().to_string();
        let mut all = stack.settings();
        all.extend([("journal.dir", journal_dir.as_str()), ("journal.segment_mib", "1"), ("api.drain_seconds", "0")]);
        all.extend(settings);
        let config = Config::with(&all).expect("valid settings");
        let service = Service::connect(config, clock.clone(), Role::Api).await.expect("the stack opens");
        let public = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = public.local_addr().expect("a bound socket has an address");
        let stop = CancellationToken::new();
        let (is_ready, ready) = oneshot::channel();
        let (told_to_stop, behind) = (stop.clone().cancelled_owned(), service.clone());
        let node = tokio::spawn(async move {
            let listeners = Listeners { public, admin: None };
            let on_ready = |_first_token| is_ready.send(()).expect("the story waits");
            let ran =
                run(service, listeners, tollgate_worker::run, Some(BOOTSTRAP_TOKEN), on_ready, told_to_stop).await;
            ran.expect("the node runs");
        });
        ready.await.expect("the node becomes ready");
        let admin = Client::new(format!("http://{address}")).with_credential(BOOTSTRAP_TOKEN);
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { clock, admin, stack, service: behind, settings, stop, node, _journal: journal }
    }

    /// Stops it as SIGTERM would: its journal is shipped.
    pub async fn stop(self) {
        self.stop.cancel();
        self.node.await.expect("no panic in the service");
    }

    /// A client with no credential.
    pub fn anyone(&self) -> Client {
        self.admin.without_credential()
    }

    /// A client with a key.
    pub fn holder(&self, key: &Key) -> Client {
        self.admin.with_credential(&key.secret)
    }

    /// A client with a new token of `scopes`, of this tenant or another.
    pub async fn token(&self, tenant_id: TenantId, scopes: &[Scope]) -> Client {
        let options = tollgate_repository::Options {
            max_connections: 1,
            acquire_timeout: Duration::from_secs(10),
            ..Default::default()
        };
        let repository = Repository::connect(self.stack.database_url(), options).await.expect("the database opens");
        let secret = TokenSecret::generate().expect("random bytes");
        let id = TokenId(self.clock.new_id());
        let token = AdminToken {
            scopes: ScopeSet(scopes.to_vec()),
            ..AdminToken::unlimited(id, tenant_id, "story", secret.prefix(), self.clock.now())
        };
        repository.tenants().insert(tenant_id, self.clock.now()).await.expect("a tenant");
        repository.tokens().insert(tenant_id, &token, &secret.hash()).await.expect("a token");
        repository.close().await;
        self.admin.with_credential(secret.expose())
    }

    /// A new token with more than a name and the scope `admin`, and a client that carries it.
    pub async fn token_with(&self, members: Value) -> (Client, Value) {
        let mut body = json!({"name": "a story's token", "scopes": ["admin"]});
        for (name, value) in members.as_object().expect("members") {
            body[name] = value.clone();
        }
        let record = self.admin.post("/api/v1/tokens", &body).await.expect(201).data().clone();
        (self.admin.with_credential(record["token"].as_str().expect("a secret")), record)
    }

    /// A new key on a plan.
    pub async fn key(&self, tier: &str) -> Key {
        self.key_with(json!({"tier": tier})).await
    }

    /// A new key with more than a name; on the plan `free` unless it says.
    pub async fn key_with(&self, members: Value) -> Key {
        let mut body = json!({"name": "a story's key", "tier": "free"});
        for (name, value) in members.as_object().expect("members") {
            body[name] = value.clone();
        }
        let record = self.admin.post("/api/v1/api-keys", &body).await.expect(201).data().clone();
        let text = |member: &str| record[member].as_str().expect("a text").to_owned();
        Key { id: text("id"), secret: text("key"), record }
    }

    /// A new key whose only limit is `limit` units in `window` seconds.
    pub async fn key_limited(&self, algorithm: &str, limit: u64, window: u64) -> Key {
        let own = json!({"name": "per-hour", "algorithm": algorithm, "limit": limit, "window": window});
        self.key_with(json!({"limits": [own]})).await
    }

    /// A new plan with these limits and quota.
    pub async fn plan(&self, name: &str, limits: Value, quota: Value) -> Value {
        let prices = json!({"currency": "USD", "base": "10.00", "overage_unit": "0.50"});
        let body = json!({"name": name, "limits": limits, "quota": quota, "prices": prices});
        self.admin.post("/api/v1/plans", &body).await.expect(201).data().clone()
    }

    /// A check of one request with the key in a header and no body.
    pub async fn validate(&self, key: &Key) -> Answer {
        crate::answer::send(self.holder(key).request(reqwest::Method::POST, VALIDATE)).await
    }

    /// A check with a body.
    pub async fn validate_with(&self, key: &Key, body: Value) -> Answer {
        self.holder(key).post(VALIDATE, &body).await
    }

    /// Uses up what is left of the key's tightest limit and returns the refusal that follows.
    pub async fn exhaust(&self, key: &Key) -> Answer {
        let look = self.validate_with(key, json!({"requests": 0})).await.expect(200);
        let left = look.body["remaining"].as_u64().expect("remaining");
        self.validate_with(key, json!({"requests": left})).await.expect(200);
        self.validate(key).await.expect(429)
    }

    /// How many of `tries` checks are allowed.
    pub async fn admitted(&self, key: &Key, tries: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..tries {
            admitted += u32::from(self.validate(key).await.allowed());
        }
        admitted
    }

    /// `usage/current`.
    pub async fn current(&self, key: &Key) -> Value {
        let path = format!("/api/v1/usage/{}/current", key.id);
        self.admin.get(&path).await.expect(200).data().clone()
    }

    /// Waits until `usage/current` counts as many units.
    pub async fn used_becomes(&self, key: &Key, units: u64) -> Value {
        self.current_becomes(key, units, None).await
    }

    /// Waits until `usage/current` counts as many units and as many refusals by limits.
    pub async fn usage_becomes(&self, key: &Key, units: u64, refusals: u64) -> Value {
        self.current_becomes(key, units, Some(refusals)).await
    }

    async fn current_becomes(&self, key: &Key, units: u64, refusals: Option<u64>) -> Value {
        let what = format!("{units} units and {refusals:?} refusals are seen");
        within_promise(&what, USAGE_WITHIN, async || {
            let current = self.current(key).await;
            let count = |member: &str| current[member].as_u64().expect("a count");
            let (made, refused) = (count("requests_made"), count("rate_limited"));
            assert!(made <= units, "more than was admitted: {current}");
            (made == units && refusals.is_none_or(|refusals| refusals == refused)).then_some(current)
        })
        .await
    }

    /// Does something behind the service's back. What the database refuses is its message.
    pub async fn sql(&self, text: &str) -> Result<(), String> {
        self.stack.sql(text).await
    }

    /// Removes what keeps these tables' rows from being changed.
    pub async fn without_triggers(&self, tables: &[&str]) {
        for table in tables {
            let drop = match self.stack.database_url().starts_with("sqlite") {
                true => vec![format!("drop trigger {table}_are_final"), format!("drop trigger {table}_stay")],
                false => vec![format!("alter table {table} disable trigger all")],
            };
            for text in drop {
                self.sql(&text).await.expect("a trigger");
            }
        }
    }

    /// Moves the clock.
    pub fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }
}

//! Jobs in Redis: one script per step. All keys of a priority share one hash tag, so they are on one node of a cluster.

mod connection;

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use redis::{Client, Script, ScriptInvocation, Value, from_redis_value};
use tollgate_domain::{Clock, TenantId};

use self::connection::{Connection, is_outage};
use crate::{
    Error, Options, Priority,
    record::{DeadRecord, Depth, LEASE_EXPIRED, LeasedJob, NewJob, Pushed, Settlement, Tenants, Verdict},
};

/// A script with the shared prelude before it. It is loaded at the first call, and again
/// when the server has forgotten it.
macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("prelude.lua"), include_str!($file))))
    };
}

static PUSH: LazyLock<Script> = script!("push.lua");
static LEASE: LazyLock<Script> = script!("lease.lua");
static SETTLE: LazyLock<Script> = script!("settle.lua");
static RENEW: LazyLock<Script> = script!("renew.lua");
static REVIVE: LazyLock<Script> = script!("revive.lua");
static DEAD_ONE: LazyLock<Script> = script!("dead_one.lua");
static DEPTH: LazyLock<Script> = script!("depth.lua");

/// Most jobs per call: a script then takes few milliseconds, and its arguments stay far below Redis's limits.
const CHUNK: usize = 500;

pub(crate) struct RedisStore {
    connection: Connection,
    clock: Clock,
    lease: Duration,
    dead_kept: usize,
    critical: Keys,
    default: Keys,
    low: Keys,
}

/// In the order of the names in `prelude.lua`.
type Keys = [String; 8];

fn keys(namespace: &str, priority: Priority) -> Keys {
    ["due", "lease", "dead", "body", "meta", "cause", "stat", "tenants"]
        .map(|part| format!("{{{namespace}:q:{}}}:{part}", priority.as_str()))
}

impl RedisStore {
    /// Does not connect; the first call does.
    pub(crate) fn new(url: &str, options: &Options, clock: Clock) -> Result<Self, Error> {
        Ok(Self {
            connection: Connection::new(Client::open(url)?),
            clock,
            lease: options.lease,
            dead_kept: options.dead_kept,
            critical: keys(&options.namespace, Priority::Critical),
            default: keys(&options.namespace, Priority::Default),
            low: keys(&options.namespace, Priority::Low),
        })
    }

    fn keys(&self, priority: Priority) -> &Keys {
        match priority {
            Priority::Critical => &self.critical,
            Priority::Default => &self.default,
            Priority::Low => &self.low,
        }
    }

    /// A call with the keys and the first two arguments of every script.
    fn start<'a>(&self, script: &'a Script, priority: Priority) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in self.keys(priority) {
            invocation.key(key);
        }
        match self.clock {
            Clock::System => invocation.arg(""),
            Clock::Manual(_) => invocation.arg(self.clock.micros().div_euclid(1_000)),
        };
        invocation.arg(self.dead_kept);
        invocation
    }

    async fn call<T: redis::FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Error> {
        Ok(self.connection.with(async |connection| invocation.invoke_async(connection).await).await?)
    }

    pub(crate) async fn push(&self, priority: Priority, jobs: Vec<NewJob>) -> Result<Vec<Pushed>, Error> {
        let mut pushed = Vec::with_capacity(jobs.len());
        for chunk in jobs.chunks(CHUNK) {
            let mut invocation = self.start(&PUSH, priority);
            for NewJob { id, body, max_attempts, tenants, run_at } in chunk {
                invocation.arg(id).arg(body.as_slice()).arg(max_attempts).arg(&tenants.0);
                invocation.arg(run_at.map_or_else(String::new, |at| at.to_string()));
            }
            let added: Vec<bool> = self.call(&invocation).await?;
            pushed.extend(added.into_iter().map(|added| if added { Pushed::Added } else { Pushed::AlreadyThere }));
        }
        Ok(pushed)
    }

    pub(crate) async fn lease(
        &self,
        priority: Priority,
        token: &Arc<str>,
        limit: usize,
    ) -> Result<Vec<LeasedJob>, Error> {
        let mut invocation = self.start(&LEASE, priority);
        invocation.arg(millis(self.lease)).arg(limit).arg(&**token).arg(LEASE_EXPIRED);
        let flat: Vec<Value> = self.call(&invocation).await?;
        let jobs: Vec<(String, Vec<u8>, u32, u32)> = from_redis_value(Value::Array(flat)).map_err(unexpected)?;
        Ok(jobs
            .into_iter()
            .map(|(id, body, attempts, max_attempts)| LeasedJob {
                id,
                body,
                attempts,
                max_attempts,
                token: Arc::clone(token),
            })
            .collect())
    }

    pub(crate) async fn settle(&self, priority: Priority, settlements: &[Settlement]) -> Result<(), Error> {
        for chunk in settlements.chunks(CHUNK) {
            let mut invocation = self.start(&SETTLE, priority);
            for Settlement { id, token, verdict } in chunk {
                let (name, after, cause) = match verdict {
                    Verdict::Done => ("done", Duration::ZERO, ""),
                    Verdict::Retry { after, cause } => ("retry", *after, cause.as_str()),
                    Verdict::Abort { cause } => ("abort", Duration::ZERO, cause.as_str()),
                    Verdict::GiveBack => ("back", Duration::ZERO, ""),
                };
                invocation.arg(id).arg(&**token).arg(name).arg(millis(after)).arg(cause);
            }
            self.call::<()>(&invocation).await?;
        }
        Ok(())
    }

    pub(crate) async fn renew(&self, priority: Priority, held: &[(String, Arc<str>)]) -> Result<Vec<String>, Error> {
        let mut lost = Vec::new();
        for chunk in held.chunks(CHUNK) {
            let mut invocation = self.start(&RENEW, priority);
            invocation.arg(millis(self.lease));
            for (id, token) in chunk {
                invocation.arg(id).arg(&**token);
            }
            lost.extend(self.call::<Vec<String>>(&invocation).await?);
        }
        Ok(lost)
    }

    /// Reads the tenants of every dead job, whose number [`Options::dead_kept`] bounds.
    pub(crate) async fn dead(
        &self,
        priority: Priority,
        tenant_id: TenantId,
        limit: usize,
    ) -> Result<(u64, Vec<(i64, String)>), Error> {
        let [_, _, dead, .., tenants] = self.keys(priority);
        let mut all = redis::cmd("ZREVRANGE");
        all.arg(dead).arg(0).arg(-1).arg("WITHSCORES");
        let all: Vec<(String, f64)> =
            self.connection.with(async |connection| all.query_async(connection).await).await?;
        let (mut total, mut latest) = (0, Vec::new());
        for chunk in all.chunks(CHUNK) {
            let mut owners = redis::cmd("HMGET");
            owners.arg(tenants).arg(chunk.iter().map(|(id, _)| id).collect::<Vec<_>>());
            let owners: Vec<Option<String>> =
                self.connection.with(async |connection| owners.query_async(connection).await).await?;
            for ((id, died_at), tenants) in chunk.iter().zip(owners) {
                if !tenants.map(Tenants).unwrap_or_default().include(tenant_id) {
                    continue;
                }
                total += 1;
                if latest.len() < limit {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "milliseconds since the epoch are whole and below 2^53"
                    )]
                    latest.push((*died_at as i64, id.clone()));
                }
            }
        }
        Ok((total, latest))
    }

    pub(crate) async fn dead_one(&self, priority: Priority, id: &str) -> Result<Option<DeadRecord>, Error> {
        self.record(&DEAD_ONE, priority, id).await
    }

    pub(crate) async fn revive(&self, priority: Priority, id: &str) -> Result<Option<DeadRecord>, Error> {
        self.record(&REVIVE, priority, id).await
    }

    async fn record(&self, script: &Script, priority: Priority, id: &str) -> Result<Option<DeadRecord>, Error> {
        let mut invocation = self.start(script, priority);
        invocation.arg(id);
        let parts: Vec<Value> = self.call(&invocation).await?;
        if parts.is_empty() {
            return Ok(None);
        }
        let (attempts, pushed_at, died_at, body, cause, tenants): (_, _, _, _, _, Option<String>) =
            from_redis_value(Value::Array(parts)).map_err(unexpected)?;
        let tenants = tenants.map(Tenants).unwrap_or_default();
        Ok(Some(DeadRecord { body, tenants, attempts, cause, pushed_at, died_at }))
    }

    pub(crate) async fn depth(&self, priority: Priority) -> Result<Depth, Error> {
        let invocation = self.start(&DEPTH, priority);
        let (waiting, scheduled, leased, dead, dead_dropped, age): (u64, u64, u64, u64, u64, i64) =
            self.call(&invocation).await?;
        let oldest_waiting = u64::try_from(age).ok().map(Duration::from_millis);
        Ok(Depth { priority, waiting, scheduled, leased, dead, dead_dropped, oldest_waiting })
    }

    pub(crate) async fn ping(&self) -> Result<Duration, Error> {
        let sent = Instant::now();
        self.connection.with(async |connection| redis::cmd("PING").query_async::<()>(connection).await).await?;
        Ok(sent.elapsed())
    }

    /// Fails unless Redis is known never to evict keys.
    pub(crate) async fn check_eviction(&self) -> Result<(), Error> {
        let policy = match self.policy_of_config().await {
            Ok(Some(policy)) => policy,
            Ok(None) | Err(_) => self.policy_of_info().await?.ok_or(Error::EvictionUnknown)?,
        };
        if policy == "noeviction" { Ok(()) } else { Err(Error::Evicts { policy }) }
    }

    async fn policy_of_config(&self) -> redis::RedisResult<Option<String>> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("maxmemory-policy");
        let pairs: Vec<(String, String)> =
            self.connection.with(async |connection| command.query_async(connection).await).await?;
        Ok(pairs.into_iter().next().map(|(_, policy)| policy))
    }

    async fn policy_of_info(&self) -> Result<Option<String>, Error> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        match self.connection.with(async |connection| command.query_async::<String>(connection).await).await {
            Ok(info) => Ok(info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::to_owned)),
            Err(error) if error.is_io_error() => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}

/// Whether the error is an outage, which the connection has already logged.
pub(crate) fn is_logged(error: &Error) -> bool {
    matches!(error, Error::Redis(error) if is_outage(error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unexpected(error: redis::ParsingError) -> Error {
    Error::Redis(error.into())
}

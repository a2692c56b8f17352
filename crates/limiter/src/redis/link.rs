//! The connection and its supervisor: connect with jitter, notice a dead socket, open the breaker, probe until it may close.
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::breaker::Breaker;

/// Time to set up a connection, name resolution, TLS and authentication included.
const CONNECT_BUDGET: Duration = Duration::from_secs(1);
/// How often a connection in use is probed.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A probe that takes longer has failed.
const PROBE_BUDGET: Duration = Duration::from_millis(250);
/// Bounds of the pause between attempts to connect, before jitter of half to one and a half.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Probes within the call budget that close the breaker.
const GOOD_PROBES: u32 = 2;
/// Failed probes in a row that condemn a connection.
const BAD_PROBES: u32 = 2;

/// What became of a call.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection, or the breaker is open: nothing was sent.
    Closed,
    /// No reply within the budget.
    Late,
    /// The server or the socket said no.
    Redis(RedisError),
}

/// A connection that is looked after.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    budget: Duration,
    breaker: Breaker,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Rings the supervisor when a call failed.
    alarm: Notify,
}

impl Link {
    /// Opens the link; the first attempt to connect is made before this returns, and may fail.
    pub(super) async fn open(client: Client, budget: Duration) -> Arc<Self> {
        let breaker = Breaker::new(Instant::now());
        let link = Arc::new(Self { client, budget, breaker, connection: Mutex::new(None), alarm: Notify::new() });
        link.reconnect().await;
        tokio::spawn(supervise(Arc::downgrade(&link)));
        link
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether calls are sent at all.
    pub(super) fn is_closed(&self) -> bool {
        self.breaker.is_open()
    }

    /// Sends one command and waits at most the budget. Every outcome counts for the breaker.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, Fault> {
        let Some(mut connection) = self.current().filter(|_| !self.is_closed()) else { return Err(Fault::Closed) };
        let outcome = match timeout(self.budget, connection.send_packed_command(command)).await {
            Ok(Ok(Value::ServerError(error))) => Err(Fault::Redis(error.into())),
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Fault::Redis(error)),
            Err(_) => Err(Fault::Late),
        };
        let failed = match &outcome {
            Err(Fault::Redis(error)) if is_no_script(error) => false,
            Err(fault) => {
                if fault.breaks_connection() {
                    self.drop_connection();
                }
                self.alarm.notify_one();
                true
            }
            Ok(_) => false,
        };
        if self.breaker.record(failed, Instant::now()) {
            tracing::warn!(fault = ?outcome.as_ref().err(), "limiter store: the breaker opened");
        }
        outcome
    }

    fn current(&self) -> Option<MultiplexedConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, connection: Option<MultiplexedConnection>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    fn drop_connection(&self) {
        self.breaker.open();
        self.replace(None);
    }

    /// True when there is a fresh connection over which the server takes writes.
    async fn reconnect(&self) -> bool {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let attempt = timeout(CONNECT_BUDGET, self.client.get_multiplexed_async_connection_with_config(&config));
        let outcome = match attempt.await {
            Ok(Ok(connection)) => {
                let outcome = probe(&connection, PROBE_BUDGET).await;
                self.replace(outcome.is_ok().then_some(connection));
                outcome
            }
            Ok(Err(error)) => Err(Fault::Redis(error)),
            Err(_) => Err(Fault::Late),
        };
        match outcome {
            Ok(()) => self.breaker.close(Instant::now()),
            Err(fault) => {
                tracing::debug!(?fault, "limiter store: no connection");
                self.drop_connection();
            }
        }
        self.current().is_some()
    }
}

impl Fault {
    /// Whether a new connection is the remedy: the socket is gone, or the server at its end no longer takes writes.
    fn breaks_connection(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_unrecoverable_error() || error.code() == Some("READONLY"),
            Self::Closed | Self::Late => false,
        }
    }
}

pub(super) fn is_no_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Whether the server answers and takes writes, within `budget`.
async fn probe(connection: &MultiplexedConnection, budget: Duration) -> Result<(), Fault> {
    let mut command = redis::cmd("SET");
    command.arg("tg:{0}:probe").arg(1).arg("PX").arg(10_000);
    let mut connection = connection.clone();
    match timeout(budget, connection.send_packed_command(&command)).await {
        Ok(Ok(Value::ServerError(error))) => Err(Fault::Redis(error.into())),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Fault::Redis(error)),
        Err(_) => Err(Fault::Late),
    }
}

/// Runs until the link is dropped.
async fn supervise(link: Weak<Link>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(link) = link.upgrade() else { return };
        if link.current().is_some() {
            pause = FIRST_PAUSE;
            watch(&link).await;
        } else if link.reconnect().await {
            tracing::info!("limiter store: connected");
        } else {
            drop(link);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// One round of looking after a connection: wait for an alarm or the time, then probe.
async fn watch(link: &Arc<Link>) {
    let pause = timeout(jittered(PROBE_EVERY), link.alarm.notified());
    if pause.await.is_ok() && link.current().is_none() {
        return;
    }
    let (mut good, mut bad) = (0, 0);
    while let Some(connection) = link.current() {
        let started = Instant::now();
        match probe(&connection, PROBE_BUDGET).await {
            Ok(()) => {
                good = if started.elapsed() <= link.budget { good + 1 } else { 0 };
                bad = 0;
            }
            Err(fault) => {
                (good, bad) = (0, bad + 1);
                if fault.breaks_connection() || bad >= BAD_PROBES {
                    tracing::warn!(?fault, "limiter store: connection given up");
                    return link.drop_connection();
                }
                continue;
            }
        }
        if !link.is_closed() {
            return;
        }
        if good >= GOOD_PROBES {
            tracing::info!("limiter store: the breaker closed");
            return link.breaker.close(Instant::now());
        }
        tokio::time::sleep(jittered(PROBE_EVERY)).await;
    }
}

/// Half to one and a half of `pause`, so that nodes do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1_000;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 1_000
}

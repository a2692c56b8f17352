//! The connection and its supervisor: connect with jitter, detect a dead socket, open the
//! breaker, probe until it may close.
use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, RedisError, Value};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    breaker::Breaker,
    target::{Connection, Target},
};
use crate::store_fault::{Remedy, StoreFault, said};

/// Time to set up a connection, name resolution, TLS and authentication included.
const CONNECT_BUDGET: Duration = Duration::from_secs(1);
/// How often a connection in use is probed.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A write by a script, as checks are. A user may have permission for a plain command and not for this.
const PROBE: &str = "return redis.call('SET', KEYS[1], 1, 'PX', 10000)";
/// A probe that takes longer counts as failed.
const PROBE_BUDGET: Duration = Duration::from_millis(250);
/// Bounds of the pause between attempts to connect, before jitter of half to one and a half.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Successful probes within the call budget that close the breaker.
const GOOD_PROBES: u32 = 2;
/// Probes without a reply after which the connection is dropped.
const SILENT_PROBES: u32 = 2;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection, or the breaker is open: nothing was sent.
    Closed,
    /// No reply within the budget.
    Late,
    /// The error of the server or of the socket.
    Redis(RedisError),
}

/// A connection with a supervisor.
#[derive(Debug)]
pub(super) struct StoreConnection {
    target: Target,
    budget: Duration,
    breaker: Breaker,
    state: Mutex<State>,
    /// Wakes the supervisor when a call failed.
    alarm: Notify,
    /// Rotates a cluster's probes through the partitions, and so through the nodes.
    turn: AtomicU8,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    /// Why the breaker opened, or why there is no connection.
    fault: Option<StoreFault>,
}

impl StoreConnection {
    /// Starts the supervisor. The first attempt to connect is made before this returns, and may fail.
    pub(super) async fn open(target: Target, budget: Duration) -> Arc<Self> {
        let (breaker, state) = (Breaker::new(Instant::now()), Mutex::default());
        let store = Arc::new(Self { target, budget, breaker, state, alarm: Notify::new(), turn: AtomicU8::new(0) });
        store.reconnect().await;
        tokio::spawn(supervise(Arc::downgrade(&store)));
        store
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Whether calls are not sent at all.
    pub(super) fn is_closed(&self) -> bool {
        self.breaker.is_open()
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.target.is_cluster()
    }

    /// What is wrong; `None` while calls are sent.
    pub(super) fn fault(&self) -> Option<StoreFault> {
        self.state().fault.filter(|_| self.is_closed())
    }

    /// Sends one command and waits at most the budget. Every outcome counts for the breaker.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, Fault> {
        let Some(mut connection) = self.connection().filter(|_| !self.is_closed()) else { return Err(Fault::Closed) };
        let outcome = within(self.budget, &mut connection, command).await;
        let fault = outcome.as_ref().err().filter(|fault| !fault.is_no_script());
        let opens = self.breaker.record(fault.is_some(), Instant::now());
        if let Some(fault) = fault {
            if fault.kind().remedy() == Remedy::Reconnect {
                self.give_up(fault);
            } else if opens {
                self.open_breaker(fault);
            }
            self.alarm.notify_one();
        }
        outcome
    }

    fn connection(&self) -> Option<Connection> {
        self.state().connection.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on answers come without the store.
    fn open_breaker(&self, said: &Fault) {
        let fault = said.kind();
        let news = self.state().fault.replace(fault) != Some(fault);
        self.breaker.open();
        if !news {
            return;
        }
        if fault == StoreFault::OutOfFiles {
            tracing::error!(?fault, %said, "limiter store: out of file descriptors; answering without it");
        } else if fault.needs_an_operator() {
            tracing::error!(?fault, %said, "limiter store: takes no checks until an operator acts");
        } else {
            tracing::warn!(?fault, %said, "limiter store: takes no checks; answering without it");
        }
    }

    fn close_breaker(&self) {
        if self.state().fault.take().is_some() {
            tracing::info!("limiter store: takes checks again");
        }
        self.breaker.close(Instant::now());
    }

    /// Drops the connection; the supervisor makes a new one.
    fn give_up(&self, said: &Fault) {
        self.open_breaker(said);
        self.state().connection = None;
    }

    /// Makes a connection and checks that the server accepts writes. It also keeps a connection over which the server
    /// answers but refuses writes, and waits for that to end.
    async fn reconnect(&self) {
        let connection = match timeout(CONNECT_BUDGET, self.target.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return self.give_up(&Fault::Redis(error)),
            Err(_) => return self.give_up(&Fault::Late),
        };
        match self.probe(&connection).await {
            Ok(_) => {
                self.state().connection = Some(connection);
                self.close_breaker();
            }
            Err(fault) if fault.kind().remedy() == Remedy::Wait && fault.kind() != StoreFault::Silent => {
                self.open_breaker(&fault);
                self.state().connection = Some(connection);
            }
            Err(fault) => self.give_up(&fault),
        }
    }

    /// Checks that the server answers and accepts writes. Returns the time that took.
    async fn probe(&self, connection: &Connection) -> Result<Duration, Fault> {
        let partition = if self.is_cluster() { self.turn.fetch_add(85, Ordering::Relaxed) } else { 0 };
        let mut command = redis::cmd("EVAL");
        command.arg(PROBE).arg(1).arg(format!("tg:{{{partition}}}:probe"));
        let started = Instant::now();
        let outcome = within(PROBE_BUDGET, &mut connection.clone(), &command).await;
        outcome.map(|_| started.elapsed())
    }

    /// One round of supervision: waits for an alarm or for the next probe, then probes until the
    /// connection is healthy or is dropped.
    async fn watch(&self) {
        let rung = timeout(jittered(PROBE_EVERY), self.alarm.notified()).await.is_ok();
        if rung && self.connection().is_none() {
            return;
        }
        let (mut good, mut silent) = (0, 0);
        while let Some(connection) = self.connection() {
            let outcome = self.probe(&connection).await;
            (good, silent) = match &outcome {
                Ok(took) => (if *took <= self.budget { good + 1 } else { 0 }, 0),
                Err(fault) if fault.kind() == StoreFault::Silent => (0, silent + 1),
                Err(_) => (0, 0),
            };
            match &outcome {
                Err(fault) if fault.kind().remedy() == Remedy::Reconnect => return self.give_up(fault),
                Err(fault) if silent >= SILENT_PROBES => return self.give_up(fault),
                // One silent probe may be a short disturbance: probe again at once.
                Err(fault) if fault.kind() == StoreFault::Silent => continue,
                Err(fault) => self.open_breaker(fault),
                Ok(_) if !self.is_closed() => return,
                Ok(_) if good >= GOOD_PROBES => return self.close_breaker(),
                Ok(_) => {}
            }
            tokio::time::sleep(jittered(PROBE_EVERY)).await;
        }
    }
}

impl Fault {
    pub(super) fn is_no_script(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code() == Some("NOSCRIPT"))
    }

    fn kind(&self) -> StoreFault {
        match self {
            Self::Closed => StoreFault::Unreachable,
            Self::Late => StoreFault::Silent,
            Self::Redis(error) => StoreFault::of(error),
        }
    }
}

/// The error text of the server or the system, for people.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("no connection"),
            Self::Late => f.write_str("no reply in time"),
            Self::Redis(error) => f.write_str(&said(error)),
        }
    }
}

async fn within(budget: Duration, connection: &mut Connection, command: &Cmd) -> Result<Value, Fault> {
    match timeout(budget, connection.send(command)).await {
        Ok(outcome) => outcome.map_err(Fault::Redis),
        Err(_) => Err(Fault::Late),
    }
}

/// Runs until the [`StoreConnection`] is dropped.
async fn supervise(store: Weak<StoreConnection>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(store) = store.upgrade() else { return };
        if store.connection().is_some() {
            pause = FIRST_PAUSE;
            store.watch().await;
            continue;
        }
        store.reconnect().await;
        if store.connection().is_none() {
            drop(store);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Half to one and a half of `pause`, so that nodes do not reconnect in step.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1_000;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 1_000
}

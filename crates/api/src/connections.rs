//! The connections of one server, and the sweeper that closes those that do one thing for too long.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::AbortHandle, time::sleep};

use crate::{
    connection::{Connection, Phase, is_new, phase},
    server::Limits,
};

/// How often a draining server looks for connections that became idle.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// The connections of one server.
pub(crate) struct Connections {
    limits: Limits,
    draining: Arc<AtomicBool>,
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    connection: Arc<Connection>,
    task: Option<AbortHandle>,
    /// The word at the sweeper's last look, and when a look first found it so.
    seen: u32,
    since: Instant,
}

/// Takes the connection off the list however its task ends.
struct Leave {
    id: u64,
    connections: Weak<Connections>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.lock().remove(&self.id);
        }
    }
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        let draining = Arc::new(AtomicBool::new(false));
        Self { limits, draining, next_id: AtomicU64::new(0), open: Mutex::default() }
    }

    /// Runs a connection's task; the sweeper may abort it.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        serve: impl FnOnce(Arc<Connection>) -> F,
    ) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(Arc::clone(&self.draining)));
        let entry = Entry { connection: Arc::clone(&connection), task: None, seen: u32::MAX, since: Instant::now() };
        self.lock().insert(id, entry);
        let leave = Leave { id, connections: Arc::downgrade(self) };
        let serving = serve(connection);
        let task = tokio::spawn(async move {
            let _leave = leave;
            serving.await;
        });
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.task = Some(task.abort_handle());
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// From now on every response says `Connection: close` and the sweeper closes what waits for a request.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.look();
    }

    /// Ends every connection, whatever it does.
    pub(crate) fn close_all(&self) {
        self.lock().values().filter_map(|entry| entry.task.as_ref()).for_each(AbortHandle::abort);
    }

    /// Looks at every connection each tick, for ever.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            let draining = self.draining.load(Ordering::Acquire);
            sleep(if draining { DRAIN_TICK } else { self.tick() }).await;
            self.look();
        }
    }

    /// A twentieth of the shortest bound, so that a connection is closed within the last twentieth before it.
    fn tick(&self) -> Duration {
        let Limits { header_timeout, idle_timeout, answer_timeout, .. } = self.limits;
        (header_timeout.min(idle_timeout).min(answer_timeout) / 20).clamp(DRAIN_TICK, Duration::from_millis(500))
    }

    fn look(&self) {
        let draining = self.draining.load(Ordering::Acquire);
        let (now, tick) = (Instant::now(), self.tick());
        for entry in self.lock().values_mut() {
            let word = entry.connection.word();
            if word != entry.seen {
                (entry.seen, entry.since) = (word, now);
            }
            let allowed = match phase(word) {
                Phase::Waiting if draining => Duration::ZERO,
                Phase::Waiting if is_new(word) => self.limits.header_timeout,
                Phase::Waiting => self.limits.idle_timeout,
                Phase::Head => self.limits.header_timeout,
                Phase::Busy | Phase::Answered => self.limits.answer_timeout,
                Phase::Closing => continue,
            };
            // It began up to one tick before it was first seen.
            let over = now.duration_since(entry.since) + tick >= allowed;
            if over
                && entry.connection.close_if_still(word)
                && let Some(task) = &entry.task
            {
                task.abort();
            }
        }
    }

    /// A poisoned lock only means that a panic passed by: the map itself is always whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What one connection is doing, and the sweeper that closes those that do it for too long.
//!
//! `Waiting` → (bytes) → `Head` → (headers complete) → `Busy` → (response made) → `Answered` → (flushed) → `Waiting`.
//! Whoever closes a connection first moves it to `Closing`; a request that finds it there is not begun.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::AbortHandle,
    time::sleep,
};

use crate::server::Limits;

const PHASE_BITS: u32 = 3;
const PHASE_MASK: u32 = (1 << PHASE_BITS) - 1;
/// How often a draining server looks for connections that became idle.
const DRAIN_TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of the next request has come.
    Waiting = 0,
    Head = 1,
    Busy = 2,
    /// The response is made; hyper is writing it.
    Answered = 3,
    Closing = 4,
}

/// One connection's phase: the low bits; above them a count of changes, so that a look tells whether anything moved.
pub(crate) struct Connection {
    word: AtomicU32,
    draining: Arc<AtomicBool>,
}

impl Connection {
    fn new(draining: Arc<AtomicBool>) -> Self {
        Self { word: AtomicU32::new(Phase::Waiting as u32), draining }
    }

    /// False when the connection is being closed.
    pub(crate) fn begin_request(&self) -> bool {
        self.enter(Phase::Busy)
    }

    /// The response is on its way to hyper.
    pub(crate) fn end_request(&self) {
        self.enter(Phase::Answered);
    }

    /// Whether the server is stopping, so that the client should not send another request here.
    pub(crate) fn is_last_request(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn phase(word: u32) -> Phase {
        match word & PHASE_MASK {
            0 => Phase::Waiting,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Answered,
            _ => Phase::Closing,
        }
    }

    fn is(&self, phase: Phase) -> bool {
        Self::phase(self.word.load(Ordering::Relaxed)) == phase
    }

    /// False, and no change, when the connection is being closed.
    fn enter(&self, phase: Phase) -> bool {
        let next = |word| {
            (Self::phase(word) != Phase::Closing)
                .then(|| (word & !PHASE_MASK).wrapping_add(1 << PHASE_BITS) | phase as u32)
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Closes unless something moved since `seen` was read.
    fn close_if_still(&self, seen: u32) -> bool {
        self.word.compare_exchange(seen, Phase::Closing as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

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
            let word = entry.connection.word.load(Ordering::Acquire);
            let phase = Connection::phase(word);
            let is_new = word >> PHASE_BITS == 0;
            if word != entry.seen {
                (entry.seen, entry.since) = (word, now);
            }
            let allowed = match phase {
                Phase::Waiting if draining => Duration::ZERO,
                Phase::Waiting if is_new => self.limits.header_timeout,
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

/// A socket that notes when a request begins and when its answer has left.
pub(crate) struct Watched<S> {
    socket: S,
    connection: Arc<Connection>,
}

impl<S> Watched<S> {
    pub(crate) fn new(socket: S, connection: Arc<Connection>) -> Self {
        Self { socket, connection }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let came = buffer.filled().len() > before;
        if came && self.connection.is(Phase::Waiting) && !self.connection.enter(Phase::Head) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes once its buffer is empty: the answer is the kernel's.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        if self.connection.is(Phase::Answered) {
            self.connection.enter(Phase::Waiting);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

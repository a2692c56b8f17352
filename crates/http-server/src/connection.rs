//! The phase of one connection, in one atomic word.
//!
//! `Waiting` → (bytes) → `Head` → (headers complete) → `Busy` → (body of the response made) → `Answered` → (flushed) →
//! `Waiting`. To close a connection, move it to `Closing` first; a request that finds it there does not begin.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

const PHASE_BITS: u32 = 3;
const PHASE_MASK: u32 = (1 << PHASE_BITS) - 1;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No byte of the next request has arrived.
    Waiting = 0,
    Head = 1,
    Busy = 2,
    /// The response is made, and hyper is writing it.
    Answered = 3,
    Closing = 4,
}

/// What the connections of one server share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) draining: AtomicBool,
    /// Counts how often a connection came to rest, so the one that rested first has the smallest
    /// number. A clock would cost more.
    rests: AtomicU64,
}

pub(crate) struct Connection {
    /// The phase in the low bits; above them a count of changes, so that two reads show whether anything moved.
    word: AtomicU32,
    /// The value of [`Shared::rests`] when it was accepted or last came to rest.
    rested: AtomicU64,
    shared: Arc<Shared>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let rested = AtomicU64::new(shared.rests.fetch_add(1, Ordering::Relaxed));
        Self { word: AtomicU32::new(Phase::Waiting as u32), rested, shared }
    }

    /// Call when bytes have arrived. False when the connection is being closed.
    pub(crate) fn begin_head(&self) -> bool {
        self.phase() != Phase::Waiting || self.enter(Phase::Head)
    }

    /// Call when a head is complete. False when the connection is being closed.
    pub(crate) fn begin_request(&self) -> bool {
        self.enter(Phase::Busy)
    }

    /// Call when the response has left, if there was one. `next` is the phase that follows: `Head` when a part of
    /// the next request has arrived.
    pub(crate) fn rest(&self, next: Phase) {
        if self.phase() == Phase::Answered {
            self.rested.store(self.shared.rests.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            self.enter(next);
        }
    }

    /// Whether no request is being answered.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.phase(), Phase::Waiting | Phase::Head)
    }

    /// Whether the server is stopping, so that the client should not send another request here.
    pub(crate) fn is_last_request(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn rested(&self) -> u64 {
        self.rested.load(Ordering::Relaxed)
    }

    pub(crate) fn word(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    fn phase(&self) -> Phase {
        phase(self.word.load(Ordering::Relaxed))
    }

    /// Changes the phase. False, with no change, when the connection is being closed.
    fn enter(&self, next: Phase) -> bool {
        let next = |word| {
            (phase(word) != Phase::Closing).then(|| (word & !PHASE_MASK).wrapping_add(1 << PHASE_BITS) | next as u32)
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Moves to `Closing` unless something moved since `seen` was read.
    pub(crate) fn close_if_still(&self, seen: u32) -> bool {
        self.word.compare_exchange(seen, Phase::Closing as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The phase in a word.
pub(crate) fn phase(word: u32) -> Phase {
    match word & PHASE_MASK {
        0 => Phase::Waiting,
        1 => Phase::Head,
        2 => Phase::Busy,
        3 => Phase::Answered,
        _ => Phase::Closing,
    }
}

/// Whether the connection has not moved since it was accepted.
pub(crate) fn is_new(word: u32) -> bool {
    word >> PHASE_BITS == 0
}

/// A response's body. When hyper drops it, the response is complete.
pub(crate) struct ResponseBody<B> {
    body: B,
    connection: Arc<Connection>,
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(body: B, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.connection.enter(Phase::Answered);
    }
}

impl<B: Body + Unpin> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        // hyper asks for more only while the client reads, so a long answer may go on as long as it moves.
        if matches!(frame, Poll::Ready(Some(Ok(_)))) && !self.body.is_end_stream() {
            self.connection.enter(Phase::Busy);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

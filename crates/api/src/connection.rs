//! What one connection is doing, in one atomic word.
//!
//! `Waiting` → (bytes) → `Head` → (headers complete) → `Busy` → (body of the response made) → `Answered` → (flushed) →
//! `Waiting`. Whoever closes a connection first moves it to `Closing`; a request that finds it there is not begun.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

const PHASE_BITS: u32 = 3;
const PHASE_MASK: u32 = (1 << PHASE_BITS) - 1;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
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
    pub(crate) fn new(draining: Arc<AtomicBool>) -> Self {
        Self { word: AtomicU32::new(Phase::Waiting as u32), draining }
    }

    /// Bytes have come. False when the connection is being closed.
    pub(crate) fn begin_head(&self) -> bool {
        self.phase() != Phase::Waiting || self.enter(Phase::Head)
    }

    /// False when the connection is being closed.
    pub(crate) fn begin_request(&self) -> bool {
        self.enter(Phase::Busy)
    }

    /// The response has left, if there was one.
    pub(crate) fn rest(&self) {
        if self.phase() == Phase::Answered {
            self.enter(Phase::Waiting);
        }
    }

    /// Whether no request is being answered.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.phase(), Phase::Waiting | Phase::Head)
    }

    /// Whether the server is stopping, so that the client should not send another request here.
    pub(crate) fn is_last_request(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn word(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    fn phase(&self) -> Phase {
        phase(self.word.load(Ordering::Relaxed))
    }

    /// False, and no change, when the connection is being closed.
    fn enter(&self, next: Phase) -> bool {
        let next = |word| {
            (phase(word) != Phase::Closing).then(|| (word & !PHASE_MASK).wrapping_add(1 << PHASE_BITS) | next as u32)
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Closes unless something moved since `seen` was read.
    pub(crate) fn close_if_still(&self, seen: u32) -> bool {
        self.word.compare_exchange(seen, Phase::Closing as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// What a word says.
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

/// A response's body. When hyper drops it, nothing of the response is left to be made.
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
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

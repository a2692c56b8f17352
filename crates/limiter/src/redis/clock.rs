//! The deciding clock as this node knows it: an upper bound, from the last reply and the time since its call was sent.
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::{options::TimeSource, time::micros};

const UNKNOWN: i64 = i64::MIN;

/// Estimates the deciding clock. What may only be done before a moment is done while even the upper bound is before it.
#[derive(Debug)]
pub(super) struct Clock {
    source: TimeSource,
    base: Instant,
    /// Server's clock minus the time since `base`, µs.
    offset: AtomicI64,
    /// The caller's clock when it last asked, µs.
    caller: AtomicI64,
}

impl Clock {
    pub(super) fn new(source: TimeSource) -> Self {
        let (offset, caller) = (AtomicI64::new(UNKNOWN), AtomicI64::new(0));
        Self { source, base: Instant::now(), offset, caller }
    }

    /// The deciding clock for a caller whose own says `caller`. Before the first reply that is the best guess there is.
    pub(super) fn now(&self, caller: i64) -> i64 {
        self.caller.store(caller, Ordering::Relaxed);
        match self.source {
            TimeSource::Caller => caller,
            TimeSource::Server => self.server().unwrap_or(caller),
        }
    }

    /// The deciding clock when nobody asks.
    pub(super) fn idle_now(&self) -> i64 {
        self.now(self.caller.load(Ordering::Relaxed))
    }

    /// What a question says about its time: nothing where the server's clock decides.
    pub(super) fn told(&self, now: i64) -> Option<i64> {
        (self.source == TimeSource::Caller).then_some(now)
    }

    /// Takes over a reply's reading of the server's clock. It was read after `sent`, so at most that much time has passed.
    pub(super) fn learn(&self, server: i64, sent: Instant) {
        self.offset.store(server - micros(sent.duration_since(self.base)), Ordering::Relaxed);
    }

    fn server(&self) -> Option<i64> {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset != UNKNOWN).then(|| offset + micros(self.base.elapsed()))
    }
}

//! An upper bound of the deciding clock, from the last reply and the time since its call was sent.
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::{options::TimeSource, time::micros};

const UNKNOWN: i64 = i64::MIN;

/// Estimates the deciding clock. An action that is allowed only before a moment is done only while
/// the upper bound is before it.
#[derive(Debug)]
pub(super) struct Clock {
    source: TimeSource,
    base: Instant,
    /// Server's clock minus the time since `base`, µs.
    offset: AtomicI64,
    /// The caller's clock at its last call, µs.
    caller: AtomicI64,
}

impl Clock {
    pub(super) fn new(source: TimeSource) -> Self {
        let (offset, caller) = (AtomicI64::new(UNKNOWN), AtomicI64::new(0));
        Self { source, base: Instant::now(), offset, caller }
    }

    /// The deciding clock for a caller whose own clock reads `caller`. Before the first reply, the
    /// caller's clock is the best guess.
    pub(super) fn now(&self, caller: i64) -> i64 {
        self.caller.store(caller, Ordering::Relaxed);
        match self.source {
            TimeSource::Caller => caller,
            TimeSource::Server => self.server().unwrap_or(caller),
        }
    }

    /// The deciding clock when no caller provides a time.
    pub(super) fn idle_now(&self) -> i64 {
        self.now(self.caller.load(Ordering::Relaxed))
    }

    /// The time to send with a request: none when the server's clock decides.
    pub(super) fn told(&self, now: i64) -> Option<i64> {
        (self.source == TimeSource::Caller).then_some(now)
    }

    /// Records a reply's reading of the server's clock. It was taken after `sent`, so at
    /// most that much time has passed.
    pub(super) fn learn(&self, server: i64, sent: Instant) {
        self.offset.store(server - micros(sent.duration_since(self.base)), Ordering::Relaxed);
    }

    fn server(&self) -> Option<i64> {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset != UNKNOWN).then(|| offset + micros(self.base.elapsed()))
    }
}

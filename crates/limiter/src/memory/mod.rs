//! Counters in this process: 256 shards, one per partition, so that all subjects of a check lie behind one short lock.
mod shard;
mod snapshot;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::check::Check;
use crate::decide::{Outcome, decide, settle};
use crate::decision::Decision;
use crate::error::Error;
use crate::limit::Limit;
use crate::limiter::Stats;
use crate::state::Change;
use crate::subject::Subject;
use crate::time::Timestamp;

use shard::Shard;

/// One per partition.
const SHARDS: usize = 256;

/// The memory store. Holds a bounded number of subjects: the expired make room first, then whoever consumed longest ago.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    /// Most subjects held; exceeded by at most one per shard.
    capacity: usize,
    held: AtomicUsize,
    exact: AtomicU64,
    evicted: AtomicU64,
}

impl MemoryStore {
    pub(crate) fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
        let (held, exact, evicted) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { shards, capacity, held, exact, evicted }
    }

    /// Decides and consumes under one shard's lock.
    pub(crate) fn check(&self, check: &Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        check.validate()?;
        self.exact.fetch_add(1, Ordering::Relaxed);
        Ok(self.decide(check, now, |_| true))
    }

    /// The same for a valid check, over those limits only that are `counted`.
    pub(crate) fn decide(&self, check: &Check<'_>, now: Timestamp, counted: impl Fn(&Limit) -> bool) -> Decision {
        let now = now.clamped();
        let mut shard = self.shard(&check.first().subject);
        let Outcome { decision, changes } = decide(check, now, counted, |part| shard.state(part.subject.hash()));
        self.write(&mut shard, check, &changes, now);
        decision
    }

    /// Ends, prolongs or gives back what others took, as the check's purpose says; false when there was nothing.
    pub(crate) fn settle(&self, check: &Check<'_>, now: Timestamp) -> Result<bool, Error> {
        check.validate()?;
        let now = now.clamped();
        let mut shard = self.shard(&check.first().subject);
        let (changes, found) = settle(check, now, |part| shard.state(part.subject.hash()));
        self.write(&mut shard, check, &changes, now);
        Ok(found)
    }

    fn write(&self, shard: &mut Shard, check: &Check<'_>, changes: &[(usize, Change)], now: i64) {
        if changes.is_empty() {
            return;
        }
        let before = shard.len();
        for (index, part) in check.parts().enumerate() {
            let mut own = changes.iter().filter(|(part, _)| *part == index).map(|(_, change)| *change).peekable();
            if own.peek().is_some() {
                shard.write(part.subject.hash(), own, now);
            }
        }
        self.make_room(shard, before, now);
    }

    /// After subjects came: the expired go as the sweep finds them, and the oldest when there still are too many.
    fn make_room(&self, shard: &mut Shard, before: usize, now: i64) {
        for _ in before..shard.len() {
            shard.sweep(now);
            let held = (self.held.load(Ordering::Relaxed) + shard.len()).saturating_sub(before);
            if held > self.capacity && shard.len() > 1 && shard.evict(now) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.account(before, shard.len());
    }

    /// Takes over how the number of subjects in one shard changed, while its lock is held.
    fn account(&self, before: usize, after: usize) {
        if after >= before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    pub(crate) fn reset(&self, subject: Subject) {
        let mut shard = self.shard(&subject);
        let before = shard.len();
        shard.remove(subject.hash());
        self.account(before, shard.len());
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            exact: self.exact.load(Ordering::Relaxed),
            subjects: self.held.load(Ordering::Relaxed) as u64,
            evicted: self.evicted.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        #[expect(clippy::indexing_slicing, reason = "256 shards, and a partition is a u8")]
        locked(&self.shards[usize::from(subject.partition())])
    }
}

/// A panic elsewhere cannot leave a shard half written: nothing in it panics. So a poisoned lock is taken over.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Counters in this process: 256 shards, one per partition, so that all subjects of a check lie behind one short lock.
mod shard;
mod snapshot;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::algorithm::Cell;
use crate::check::Check;
use crate::decide::{Outcome, decide, give_back};
use crate::decision::Decision;
use crate::error::Error;
use crate::limit::Limit;
use crate::limiter::Stats;
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
        let Outcome { decision, writes } = decide(check, now, counted, |part| shard.cells(part.subject.hash()));
        self.write(&mut shard, check, &writes, now);
        decision
    }

    /// Gives every limit of a valid check its cost back, consumed at `moment`.
    pub(crate) fn give_back(&self, check: &Check<'_>, moment: Timestamp, now: Timestamp) {
        let now = now.clamped();
        let mut shard = self.shard(&check.first().subject);
        let writes = give_back(check, moment.clamped(), now, |part| shard.cells(part.subject.hash()));
        self.write(&mut shard, check, &writes, now);
    }

    fn write(&self, shard: &mut Shard, check: &Check<'_>, writes: &[(usize, Cell)], now: i64) {
        if writes.is_empty() {
            return;
        }
        for (index, part) in check.parts().enumerate() {
            let mut cells = writes.iter().filter(|(part, _)| *part == index).map(|(_, cell)| *cell).peekable();
            if cells.peek().is_some() && shard.write(part.subject.hash(), cells, now) {
                self.make_room(shard, now);
            }
        }
    }

    /// After a new subject came: the expired go as the sweep finds them, and the oldest when there still are too many.
    fn make_room(&self, shard: &mut Shard, now: i64) {
        let mut held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        let swept = shard.sweep_for_one_more(now);
        held -= swept;
        let before = shard.len();
        if held > self.capacity && before > 1 && shard.evict(now) {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        self.held.fetch_sub(swept + before - shard.len(), Ordering::Relaxed);
    }

    pub(crate) fn reset(&self, subject: Subject) {
        if self.shard(&subject).remove(subject.hash()) {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
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

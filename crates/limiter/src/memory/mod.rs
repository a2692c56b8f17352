//! Counters in this process: 256 shards, one per partition, so that all subjects of a check lie behind one short lock.
mod shard;
mod snapshot;
mod table;

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use shard::{Place, Shard};
use smallvec::{SmallVec, smallvec};

use crate::{
    algorithm::Cell,
    check::{Check, Part},
    decide::decide,
    decision::Decision,
    error::Error,
    explain::{Outcome, explain},
    limit::Limit,
    options::Stats,
    settle::settle,
    state::{Change, StateRef, States},
    subject::Subject,
    time::Timestamp,
};

/// One per partition.
const SHARDS: usize = 256;

/// The memory store. Holds a bounded number of subjects: the expired make room first, then whoever consumed longest ago.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    /// Most subjects held; exceeded by at most one per shard.
    capacity: usize,
    held: AtomicUsize,
    evicted: AtomicU64,
}

impl MemoryStore {
    pub(crate) fn new(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
        Self { shards, capacity, held: AtomicUsize::new(0), evicted: AtomicU64::new(0) }
    }

    /// Decides and consumes under one shard's lock.
    pub(crate) fn check(&self, check: &Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        check.validate()?;
        let mut decision = Decision::open(now.clamped());
        self.decide(check, |_| true, &mut decision);
        Ok(decision)
    }

    /// The same for a valid check, over those limits only that are `counted`, in `decision`, which is open.
    pub(crate) fn decide(&self, check: &Check<'_>, counted: impl Fn(&Limit) -> bool, decision: &mut Decision) {
        self.on_states(check, decision.at, |_, held| {
            // Counted under the lock that is held anyway: an atomic of its own would cost a tenth of the check.
            held.shard.count_check();
            decide(check, counted, held, decision);
        });
    }

    /// Says what the check would be answered, over those limits only that are `counted`, in `decision`, which is open.
    pub(crate) fn peek(&self, check: &Check<'_>, counted: impl Fn(&Limit) -> bool, decision: &mut Decision) {
        let mut shard = self.shard(&check.first().subject);
        let held = Held::new(&mut shard, check, decision.at.as_micros());
        explain(check, Outcome::Asked, counted, |part| held.state(part), 0, decision);
    }

    /// Ends, prolongs or gives back what others took, as the check's purpose says; false when there was nothing.
    pub(crate) fn settle(&self, check: &Check<'_>, now: Timestamp) -> Result<bool, Error> {
        check.validate()?;
        Ok(self.on_states(check, now, |now, states| settle(check, now, states)))
    }

    /// Runs `step` on the states of the check's subjects, under their shard's lock.
    fn on_states<T>(&self, check: &Check<'_>, now: Timestamp, step: impl FnOnce(i64, &mut Held<'_>) -> T) -> T {
        let now = now.clamped();
        let mut shard = self.shard(&check.first().subject);
        let before = shard.len();
        let mut held = Held::new(&mut shard, check, now);
        let outcome = step(now, &mut held);
        if held.finish() {
            self.make_room(&mut shard, before, now);
        }
        outcome
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
        match after.cmp(&before) {
            Greater => self.held.fetch_add(after - before, Ordering::Relaxed),
            Less => self.held.fetch_sub(before - after, Ordering::Relaxed),
            // As after most checks, which all would write to the same line.
            Equal => return,
        };
    }

    pub(crate) fn reset(&self, subject: Subject) {
        let mut shard = self.shard(&subject);
        let before = shard.len();
        shard.remove(subject.hash());
        self.account(before, shard.len());
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            exact: self.shards.iter().map(|shard| locked(shard).checks()).sum(),
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

/// Where a part's subject is.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    place: Option<Place>,
    /// Its cells stand in the order of the part's limits.
    in_order: bool,
}

/// The states of a check's subjects, while their shard is locked.
struct Held<'a> {
    shard: &'a mut Shard,
    check: &'a Check<'a>,
    found: SmallVec<[Found; 2]>,
    written: bool,
    now: i64,
}

impl<'a> Held<'a> {
    #[inline(always)]
    fn new(shard: &'a mut Shard, check: &'a Check<'a>, now: i64) -> Self {
        let mut held = Self { shard, check, found: SmallVec::new(), written: false, now };
        held.find(check.first());
        check.others().iter().for_each(|part| held.find(part));
        held
    }

    /// Notes what was written, and forgets subjects that have no state left. True when anything was written.
    fn finish(self) -> bool {
        if self.written {
            let stateless =
                self.found.iter().filter_map(|found| found.place).filter(|place| !self.shard.mark(*place)).count();
            if stateless > 0 {
                self.check.parts().for_each(|part| self.shard.tidy(part.subject.hash()));
            }
        }
        self.written
    }

    /// Looks for the next part's subject, and at all its cells: so their lines of cache are fetched together, and not each
    /// when its limit's turn comes.
    #[inline]
    fn find(&mut self, part: &Part<'_>) {
        let place = self.shard.find(part.subject.hash(), part.limits.len());
        let cells = self.shard.state(place).cells;
        let in_order = part.limits.len() <= cells.len()
            && part.limits.iter().zip(cells).all(|(limit, cell)| limit.id() == cell.id);
        self.found.push(Found { place, in_order });
    }

    /// Looks for all subjects again, since some were moved.
    #[cold]
    fn find_again(&mut self) {
        self.found.clear();
        self.check.parts().for_each(|part| self.find(part));
    }

    /// Where a part's subject is from now on, since something is to be written there.
    #[inline]
    fn place(&mut self, part: usize) -> Option<Place> {
        self.written = true;
        self.found.get(part)?.place.or_else(|| self.insert(part))
    }

    #[inline(never)]
    fn insert(&mut self, part: usize) -> Option<Place> {
        let inserted = self.check.parts().nth(part)?;
        let place = self.shard.insert(inserted.subject.hash(), inserted.limits.len());
        if self.found.len() > 1 {
            self.find_again();
        } else {
            self.found = smallvec![Found { place: Some(place), in_order: false }];
        }
        Some(place)
    }
}

impl States for Held<'_> {
    #[inline]
    fn state(&self, part: usize) -> StateRef<'_> {
        self.shard.state(self.found.get(part).and_then(|found| found.place))
    }

    #[inline]
    fn cells_in_order(&mut self, part: usize) -> Option<&mut [Cell]> {
        let (found, asked) = (self.found.get(part)?, self.check.parts().nth(part)?);
        let place = found.place.filter(|_| found.in_order)?;
        self.written = true;
        self.shard.cells_mut(place, asked.limits.len())
    }

    fn write(&mut self, part: usize, change: Change) {
        if let Some(place) = self.place(part)
            && self.shard.apply(place, change, self.now)
        {
            self.find_again();
        }
    }

    #[inline]
    fn write_cell(&mut self, part: usize, index: usize, cell: &Cell) {
        if let Some(place) = self.place(part)
            && self.shard.write(place, index, cell, self.now)
        {
            self.find_again();
        }
    }
}

/// A panic elsewhere cannot leave a shard half written: nothing in it panics. So a poisoned lock is taken over.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

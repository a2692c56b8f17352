//! Counters in this process: 256 shards, one per partition, so that one short lock covers all subjects of a check.
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

/// The memory store. Holds a bounded number of subjects: expired ones make room first, then the
/// one that consumed longest ago.
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

    /// Decides a valid check over the limits that are `counted`, in `decision`, which must be open.
    pub(crate) fn decide(&self, check: &Check<'_>, counted: impl Fn(&Limit) -> bool, decision: &mut Decision) {
        self.on_states(check, decision.at, |_, held| {
            // Counted under the lock that is held anyway: a separate atomic would cost a tenth of the check.
            held.shard.count_check();
            decide(check, counted, held, decision);
        });
    }

    /// Computes what the check would be answered, over the limits that are `counted`, in
    /// `decision`, which must be open.
    pub(crate) fn peek(&self, check: &Check<'_>, counted: impl Fn(&Limit) -> bool, decision: &mut Decision) {
        let mut shard = self.shard(&check.first().subject);
        let held = Held::new(&mut shard, check, decision.at.as_micros());
        explain(check, Outcome::Asked, counted, |part| held.state(part), 0, decision);
    }

    /// Ends, extends or gives back earlier consumption, as the check's purpose says; false when there was none.
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

    /// Called after subjects were added: drops expired ones that the sweep finds, and the
    /// oldest if there are still too many.
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

    /// Updates the total after the number of subjects in one shard changed. The shard's lock is held.
    fn account(&self, before: usize, after: usize) {
        match after.cmp(&before) {
            Greater => self.held.fetch_add(after - before, Ordering::Relaxed),
            Less => self.held.fetch_sub(before - after, Ordering::Relaxed),
            // After most checks. All of them would otherwise write to the same cache line.
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

/// The place of a part's subject.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    place: Option<Place>,
    /// Whether its cells are in the order of the part's limits.
    in_order: bool,
}

/// The states of a check's subjects while their shard is locked.
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

    /// Records what was written, and drops subjects that have no state left. True when anything was written.
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

    /// Finds the next part's subject and reads all its cells, so that the CPU fetches their cache lines
    /// together and not one per limit.
    #[inline]
    fn find(&mut self, part: &Part<'_>) {
        let place = self.shard.find(part.subject.hash(), part.limits.len());
        let cells = self.shard.state(place).cells;
        let in_order = part.limits.len() <= cells.len()
            && part.limits.iter().zip(cells).all(|(limit, cell)| limit.id() == cell.id);
        self.found.push(Found { place, in_order });
    }

    /// Finds all subjects again, because some were moved.
    #[cold]
    fn find_again(&mut self) {
        self.found.clear();
        self.check.parts().for_each(|part| self.find(part));
    }

    /// Finds or makes a place for a part's subject, because something is to be written there.
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

/// Takes over a poisoned lock: nothing panics while it changes a shard, so no shard is half-written.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

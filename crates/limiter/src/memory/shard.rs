//! The subjects of one partition: a slab of entries and an open-addressed index into it.
#![expect(clippy::indexing_slicing, reason = "every index comes from this shard's own tables, which only grow")]
use smallvec::SmallVec;

use crate::algorithm::Cell;
use crate::hold::Hold;
use crate::state::{Change, StateRef};

/// Most cells of a subject; past it the one that ends first is dropped. The script on Redis does the same.
const MAX_CELLS: usize = 64;
/// Entries looked at for every new subject, so that the expired are found about as fast as new ones come.
const SWEEP: usize = 2;
/// Entries looked at when one has to go: an expired one, or else the one among them that was written longest ago.
const SEARCH: usize = 32;
const NONE: u32 = u32::MAX;

/// Half of the hash beside the entry's place: a probe that misses does not touch the entry.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    entry: u32,
}

const VACANT: Slot = Slot { tag: 0, entry: NONE };

#[derive(Debug)]
struct Entry {
    hash: [u64; 2],
    /// The shard's count of writes when this was written last; a free entry's is the next free one.
    written: u32,
    /// A single limit needs no allocation.
    cells: SmallVec<[Cell; 1]>,
    /// Most subjects hold nothing.
    #[expect(clippy::box_collection, reason = "one word instead of three, in every entry")]
    holds: Option<Box<Vec<Hold>>>,
}

#[derive(Debug)]
pub(super) struct Shard {
    /// A power of two long, at most three quarters full.
    index: Vec<Slot>,
    entries: Vec<Entry>,
    held: usize,
    writes: u32,
    free: u32,
    /// Where the next sweep goes on.
    hand: usize,
}

impl Entry {
    fn state(&self) -> StateRef<'_> {
        StateRef { cells: &self.cells, holds: self.holds.as_ref().map_or(&[], |holds| holds) }
    }

    fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.holds.is_none()
    }

    fn is_expired(&self, now: i64) -> bool {
        let StateRef { cells, holds } = self.state();
        cells.iter().all(|cell| cell.until <= now) && holds.iter().all(|hold| hold.until <= now)
    }

    fn apply(&mut self, change: Change, now: i64) {
        match change {
            Change::Cell(cell) => match self.cells.iter_mut().find(|held| held.id == cell.id) {
                Some(held) => *held = cell,
                None => append(&mut self.cells, cell, now),
            },
            Change::Hold(hold) => {
                let holds = self.holds.get_or_insert_default();
                holds.retain(|held| held.until > now && (held.cell, held.id) != (hold.cell, hold.id));
                holds.push(hold);
            }
            Change::EndHold { cell, id } => {
                if let Some(holds) = &mut self.holds {
                    holds.retain(|held| held.until > now && (held.cell, held.id) != (cell, id));
                    if holds.is_empty() {
                        self.holds = None;
                    }
                }
            }
        }
    }
}

impl Shard {
    pub(super) fn new() -> Self {
        Self { index: vec![VACANT; 8], entries: Vec::new(), held: 0, writes: 0, free: NONE, hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// A subject's state; an empty one when it is not held.
    pub(super) fn state(&self, hash: [u64; 2]) -> StateRef<'_> {
        self.find(hash).map_or(StateRef::default(), |entry| self.entries[entry as usize].state())
    }

    /// Every subject held, for a snapshot.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ([u64; 2], StateRef<'_>)> {
        self.entries.iter().filter(|entry| !entry.is_empty()).map(|entry| (entry.hash, entry.state()))
    }

    /// Changes the state of one subject.
    pub(super) fn write(&mut self, hash: [u64; 2], changes: impl Iterator<Item = Change>, now: i64) {
        let at = self.find(hash).unwrap_or_else(|| self.insert(hash));
        self.writes = self.writes.wrapping_add(1);
        let entry = &mut self.entries[at as usize];
        entry.written = self.writes;
        for change in changes {
            entry.apply(change, now);
        }
        if entry.is_empty() {
            self.vacate(at);
        }
    }

    /// Forgets a subject.
    pub(super) fn remove(&mut self, hash: [u64; 2]) {
        if let Some(entry) = self.find(hash) {
            self.vacate(entry);
        }
    }

    /// Makes room for one subject. True when one that still counted had to go.
    pub(super) fn evict(&mut self, now: i64) -> bool {
        let (writes, mut oldest) = (self.writes, None);
        for _ in 0..SEARCH.min(self.entries.len()) {
            let (at, entry) = self.next();
            if entry.is_empty() {
                continue;
            }
            if entry.is_expired(now) {
                self.vacate(at);
                return false;
            }
            let age = writes.wrapping_sub(entry.written);
            oldest = oldest.max(Some((age, at)));
        }
        if let Some((_, at)) = oldest {
            self.vacate(at);
        }
        oldest.is_some()
    }

    /// Drops expired subjects as the hand passes them, about as many as one that came. Returns how many.
    pub(super) fn sweep(&mut self, now: i64) -> usize {
        let before = self.held;
        for _ in 0..SWEEP.min(self.entries.len()) {
            let (at, entry) = self.next();
            if !entry.is_empty() && entry.is_expired(now) {
                self.vacate(at);
            }
        }
        before - self.held
    }

    /// Moves the hand on by one entry.
    fn next(&mut self) -> (u32, &Entry) {
        self.hand = (self.hand + 1) % self.entries.len();
        // The slab is far shorter than 2^32: see `insert`.
        (self.hand as u32, &self.entries[self.hand])
    }

    fn find(&self, hash: [u64; 2]) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(tag);
        loop {
            let slot = self.index[at];
            if slot.entry == NONE {
                return None;
            }
            if slot.tag == tag && self.entries[slot.entry as usize].hash == hash {
                return Some(slot.entry);
            }
            at = self.after(at);
        }
    }

    /// A new entry, empty yet.
    fn insert(&mut self, hash: [u64; 2]) -> u32 {
        if (self.held + 1) * 4 > self.index.len() * 3 {
            self.grow();
        }
        let fresh = Entry { hash, written: 0, cells: SmallVec::new(), holds: None };
        let entry = match self.free {
            NONE => {
                self.entries.push(fresh);
                // 2^32 entries of 80 bytes are more than any shard's memory.
                (self.entries.len() - 1) as u32
            }
            free => {
                self.free = self.entries[free as usize].written;
                self.entries[free as usize] = fresh;
                free
            }
        };
        self.place(Slot { tag: tag(hash), entry });
        self.held += 1;
        entry
    }

    fn vacate(&mut self, entry: u32) {
        self.unplace(entry);
        let vacated = &mut self.entries[entry as usize];
        (vacated.cells, vacated.holds, vacated.written) = (SmallVec::new(), None, self.free);
        self.free = entry;
        self.held -= 1;
    }

    fn place(&mut self, slot: Slot) {
        let mut at = self.home(slot.tag);
        while self.index[at].entry != NONE {
            at = self.after(at);
        }
        self.index[at] = slot;
    }

    /// Takes an entry out of the index and moves up what was displaced by it, so that no probe ends early.
    fn unplace(&mut self, entry: u32) {
        let mut hole = self.home(tag(self.entries[entry as usize].hash));
        while self.index[hole].entry != entry {
            hole = self.after(hole);
        }
        let mut next = self.after(hole);
        while self.index[next].entry != NONE {
            let home = self.home(self.index[next].tag);
            let mask = self.index.len() - 1;
            let displaced = next.wrapping_sub(home) & mask;
            if displaced >= (next.wrapping_sub(hole) & mask) {
                self.index[hole] = self.index[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.index[hole] = VACANT;
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.index);
        self.index = vec![VACANT; old.len() * 2];
        for slot in old.into_iter().filter(|slot| slot.entry != NONE) {
            self.place(slot);
        }
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.index.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.index.len() - 1)
    }
}

/// Adds a cell. Dead cells go first, and the one that ends first when there are too many.
fn append(cells: &mut SmallVec<[Cell; 1]>, cell: Cell, now: i64) {
    cells.retain(|held| held.until > now);
    if cells.len() < MAX_CELLS {
        cells.push(cell);
    } else if let Some(first) = cells.iter_mut().min_by_key(|held| held.until) {
        *first = cell;
    }
}

/// The hash is random and keyed: any 32 bits of it spread.
fn tag(hash: [u64; 2]) -> u32 {
    hash[1] as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Numbers;

    const END: i64 = 1_000;

    fn written(until: i64) -> impl Iterator<Item = Change> {
        std::iter::once(Change::Cell(Cell { id: 1, numbers: Numbers::default(), until }))
    }

    /// Hashes that collide in the index: eight subjects per tag.
    fn hash(subject: u64) -> [u64; 2] {
        [subject, subject / 8]
    }

    fn filled(subjects: u64) -> Shard {
        let mut shard = Shard::new();
        for subject in 0..subjects {
            shard.write(hash(subject), written(END), 0);
        }
        shard
    }

    #[test]
    fn what_was_written_is_found_after_others_were_removed() {
        let mut shard = filled(1_000);
        for subject in (0..1_000).filter(|subject| subject % 3 != 0) {
            shard.remove(hash(subject));
        }
        for subject in 0..1_000 {
            assert_eq!(shard.state(hash(subject)).cells.len(), usize::from(subject % 3 == 0), "{subject}");
        }
        assert_eq!(shard.len(), 334);
    }

    #[test]
    fn a_freed_entry_is_used_again() {
        let mut shard = filled(100);
        for subject in 0..50 {
            shard.remove(hash(subject));
        }
        for subject in 100..150 {
            shard.write(hash(subject), written(END), 0);
        }
        assert_eq!((shard.len(), shard.entries.len()), (100, 100));
    }

    #[test]
    fn the_subject_that_consumed_longest_ago_goes_first() {
        let mut shard = filled(10);
        shard.write(hash(0), written(END), 0);
        assert!(shard.evict(0));
        assert!(shard.state(hash(1)).cells.is_empty());
        assert_eq!(shard.state(hash(0)).cells.len(), 1);
    }

    #[test]
    fn an_expired_subject_goes_before_the_oldest() {
        let mut shard = filled(10);
        shard.write(hash(7), written(5), 0);
        assert!(!shard.evict(6), "nothing that counted was dropped");
        assert!(shard.state(hash(7)).cells.is_empty());
        assert_eq!(shard.len(), 9);
    }

    #[test]
    fn new_subjects_sweep_out_the_expired() {
        let mut shard = filled(100);
        let swept: usize = (0..60).map(|_| shard.sweep(END)).sum();
        assert_eq!((swept, shard.len()), (100, 0));
    }

    #[test]
    fn a_subject_whose_last_hold_ends_is_forgotten() {
        let mut shard = Shard::new();
        let hold = Hold { cell: 1, id: 7, amount: 1, until: END };
        shard.write(hash(1), std::iter::once(Change::Hold(hold)), 0);
        assert_eq!(shard.state(hash(1)).holds, [hold]);
        shard.write(hash(1), std::iter::once(Change::EndHold { cell: 1, id: 7 }), 0);
        assert_eq!(shard.len(), 0);
    }
}

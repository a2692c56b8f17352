//! The subjects of one partition: a slab of entries, an open-addressed index into it, and the order of last consumption.
#![expect(clippy::indexing_slicing, reason = "every index comes from this shard's own tables, which only grow")]
use smallvec::SmallVec;

use crate::algorithm::Cell;

/// Most cells of a subject; past it the one that ends first is dropped. The script on Redis does the same.
const MAX_CELLS: usize = 64;
/// Entries looked at for every new subject, so that the expired are found about as fast as new ones come.
const SWEEP: usize = 2;
/// Entries looked at for an expired one before the oldest has to go: a microsecond's worth.
const SEARCH: usize = 256;
const NONE: u32 = u32::MAX;

/// The cells of one subject: a single limit needs no allocation.
pub(super) type Cells = SmallVec<[Cell; 1]>;

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
    /// Neighbours in the order of last consumption; a free entry's `older` is the next free one.
    newer: u32,
    older: u32,
    /// Empty when the entry is free.
    cells: Cells,
}

#[derive(Debug)]
pub(super) struct Shard {
    /// A power of two long, at most three quarters full.
    index: Vec<Slot>,
    entries: Vec<Entry>,
    held: usize,
    newest: u32,
    oldest: u32,
    free: u32,
    /// Where the next sweep goes on.
    hand: usize,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self { index: vec![VACANT; 8], entries: Vec::new(), held: 0, newest: NONE, oldest: NONE, free: NONE, hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// A subject's cells; none when it is not held.
    pub(super) fn cells(&self, hash: [u64; 2]) -> &[Cell] {
        self.find(hash).map_or(&[], |entry| &self.entries[entry as usize].cells)
    }

    /// Every subject held, for a snapshot.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ([u64; 2], &[Cell])> {
        let held = self.entries.iter().filter(|entry| !entry.cells.is_empty());
        held.map(|entry| (entry.hash, entry.cells.as_slice()))
    }

    /// Writes cells of one subject, which thereby is the newest. True when the subject was not held before.
    pub(super) fn write(&mut self, hash: [u64; 2], cells: impl Iterator<Item = Cell>, now: i64) -> bool {
        let found = self.find(hash);
        let entry = found.unwrap_or_else(|| self.insert(hash));
        let held = &mut self.entries[entry as usize].cells;
        for cell in cells {
            match held.iter_mut().find(|held| held.id == cell.id) {
                Some(held) => *held = cell,
                None => append(held, cell, now),
            }
        }
        if self.newest != entry {
            self.unlink(entry);
            self.link(entry);
        }
        found.is_none()
    }

    /// Forgets a subject; false when it was not held.
    pub(super) fn remove(&mut self, hash: [u64; 2]) -> bool {
        let Some(entry) = self.find(hash) else { return false };
        self.unlink(entry);
        self.vacate(entry);
        true
    }

    /// Makes room for one subject. True when one that still counted had to go.
    pub(super) fn evict(&mut self, now: i64) -> bool {
        if self.sweep(SEARCH, 1, now) > 0 || self.oldest == NONE {
            return false;
        }
        let oldest = self.oldest;
        self.unlink(oldest);
        self.vacate(oldest);
        true
    }

    /// Drops expired subjects as the hand passes them. Returns how many.
    pub(super) fn sweep_for_one_more(&mut self, now: i64) -> usize {
        self.sweep(SWEEP, SWEEP, now)
    }

    fn sweep(&mut self, look_at: usize, most: usize, now: i64) -> usize {
        let mut dropped = 0;
        for _ in 0..look_at.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let cells = &self.entries[self.hand].cells;
            if !cells.is_empty() && cells.iter().all(|cell| cell.until <= now) {
                // The slab is far shorter than 2^32: see `insert`.
                let entry = self.hand as u32;
                self.unlink(entry);
                self.vacate(entry);
                dropped += 1;
                if dropped == most {
                    break;
                }
            }
        }
        dropped
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

    /// A new entry, linked as the newest, without cells yet.
    fn insert(&mut self, hash: [u64; 2]) -> u32 {
        if (self.held + 1) * 4 > self.index.len() * 3 {
            self.grow();
        }
        let fresh = Entry { hash, newer: NONE, older: NONE, cells: Cells::new() };
        let entry = match self.free {
            NONE => {
                self.entries.push(fresh);
                // 2^32 entries of 72 bytes are more than any shard's memory.
                (self.entries.len() - 1) as u32
            }
            free => {
                self.free = self.entries[free as usize].older;
                self.entries[free as usize] = fresh;
                free
            }
        };
        self.place(Slot { tag: tag(hash), entry });
        self.link(entry);
        self.held += 1;
        entry
    }

    fn vacate(&mut self, entry: u32) {
        self.unplace(entry);
        let vacated = &mut self.entries[entry as usize];
        vacated.cells = Cells::new();
        vacated.older = self.free;
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

    fn link(&mut self, entry: u32) {
        let newest = self.newest;
        self.entries[entry as usize].older = newest;
        self.entries[entry as usize].newer = NONE;
        match newest {
            NONE => self.oldest = entry,
            newest => self.entries[newest as usize].newer = entry,
        }
        self.newest = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let Entry { newer, older, .. } = self.entries[entry as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }
}

/// Adds a cell. Dead cells go first, and the one that ends first when there are too many.
fn append(cells: &mut Cells, cell: Cell, now: i64) {
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

    fn cell(until: i64) -> Cell {
        Cell { id: 1, numbers: Numbers::default(), until }
    }

    /// Hashes that collide in the index: eight subjects per tag.
    fn hash(subject: u64) -> [u64; 2] {
        [subject, subject / 8]
    }

    fn filled(subjects: u64) -> Shard {
        let mut shard = Shard::new();
        for subject in 0..subjects {
            assert!(shard.write(hash(subject), std::iter::once(cell(END)), 0));
        }
        shard
    }

    #[test]
    fn what_was_written_is_found_after_others_were_removed() {
        let mut shard = filled(1_000);
        for subject in (0..1_000).filter(|subject| subject % 3 != 0) {
            assert!(shard.remove(hash(subject)));
        }
        for subject in 0..1_000 {
            assert_eq!(shard.cells(hash(subject)).len(), usize::from(subject % 3 == 0), "{subject}");
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
            shard.write(hash(subject), std::iter::once(cell(END)), 0);
        }
        assert_eq!((shard.len(), shard.entries.len()), (100, 100));
    }

    #[test]
    fn the_subject_that_consumed_longest_ago_goes_first() {
        let mut shard = filled(10);
        shard.write(hash(0), std::iter::once(cell(END)), 0);
        assert!(shard.evict(0));
        assert!(shard.cells(hash(1)).is_empty());
        assert_eq!(shard.cells(hash(0)).len(), 1);
    }

    #[test]
    fn an_expired_subject_goes_before_the_oldest() {
        let mut shard = filled(10);
        shard.write(hash(7), std::iter::once(cell(5)), 0);
        assert!(!shard.evict(6), "nothing that counted was dropped");
        assert!(shard.cells(hash(7)).is_empty());
        assert_eq!(shard.len(), 9);
    }

    #[test]
    fn new_subjects_sweep_out_the_expired() {
        let mut shard = filled(100);
        let swept: usize = (0..60).map(|_| shard.sweep_for_one_more(END)).sum();
        assert_eq!((swept, shard.len()), (100, 0));
    }
}

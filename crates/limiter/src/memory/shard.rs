//! The subjects of one partition: a slab of entries and an open-addressed index into it.
#![expect(clippy::indexing_slicing, reason = "every index comes from this shard's own tables, which only grow")]
use crate::algorithm::Cell;
use crate::state::{Change, StateRef};

use super::entry::Entry;

/// Entries looked at for every new subject, so that the expired are found about as fast as new ones come.
const SWEEP: usize = 2;
/// Entries looked at when one has to go: an expired one, or else the one among them that was written longest ago.
const SEARCH: usize = 32;
const NONE: u32 = u32::MAX;
/// A slot of the index: as many low bits as the index is long say which entry, the others are the entry's tag's. So it is
/// small, and a probe that misses seldom touches an entry. No entry has the number of which all bits are set.
type Slot = u32;

const VACANT: Slot = u32::MAX;

/// Where a subject is, until the next that is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

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
    checks: u64,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self { index: vec![VACANT; 8], entries: Vec::new(), held: 0, writes: 0, free: NONE, hand: 0, checks: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.held
    }

    pub(super) fn count_check(&mut self) {
        self.checks += 1;
    }

    /// Checks decided here.
    pub(super) fn checks(&self) -> u64 {
        self.checks
    }

    /// A subject's state; an empty one when it is not held.
    #[inline(always)]
    pub(super) fn state(&self, place: Option<Place>) -> StateRef<'_> {
        place.map_or(StateRef::default(), |Place(entry)| self.entries[entry as usize].state())
    }

    /// Every subject held, for a snapshot.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ([u64; 2], StateRef<'_>)> {
        let held = self.entries.iter().filter(|entry| !entry.is_empty());
        held.map(|entry| ([entry.hash, u64::from(entry.tag)], entry.state()))
    }

    /// Where a subject is held.
    #[inline(always)]
    pub(super) fn find(&self, hash: [u64; 2]) -> Option<Place> {
        let (tag, mask) = (tag(hash), self.mask());
        let mut at = self.home(tag);
        loop {
            let slot = self.index[at];
            if slot == VACANT {
                return None;
            }
            if (slot ^ tag) & !mask == 0 {
                let entry = &self.entries[(slot & mask) as usize];
                if entry.hash == hash[0] && entry.tag == tag {
                    return Some(Place(slot & mask));
                }
            }
            at = self.after(at);
        }
    }

    /// Changes the state of a subject that was not forgotten since it was found.
    pub(super) fn apply(&mut self, place: Place, change: Change, now: i64) {
        self.written(place).apply(change, now);
    }

    /// Writes a cell; it is looked for at `guess` first.
    #[inline(always)]
    pub(super) fn write(&mut self, place: Place, guess: usize, cell: &Cell, now: i64) {
        let entry = self.written(place);
        match entry.guessed(cell.id, guess) {
            Some(held) => *held = *cell,
            None => entry.write(*cell, now),
        }
    }

    /// The entry at `place`, as the one that was written last.
    #[inline(always)]
    fn written(&mut self, Place(entry): Place) -> &mut Entry {
        self.writes = self.writes.wrapping_add(1);
        let entry = &mut self.entries[entry as usize];
        entry.written = self.writes;
        entry
    }

    /// Forgets a subject that has no state left.
    pub(super) fn tidy(&mut self, Place(entry): Place) {
        if self.entries[entry as usize].is_empty() {
            self.vacate(entry);
        }
    }

    /// Forgets a subject.
    pub(super) fn remove(&mut self, hash: [u64; 2]) {
        if let Some(Place(entry)) = self.find(hash) {
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

    /// Drops expired subjects as the hand passes them, about as many as one that came.
    pub(super) fn sweep(&mut self, now: i64) {
        for _ in 0..SWEEP.min(self.entries.len()) {
            let (at, entry) = self.next();
            if !entry.is_empty() && entry.is_expired(now) {
                self.vacate(at);
            }
        }
    }

    /// Moves the hand on by one entry.
    fn next(&mut self) -> (u32, &Entry) {
        self.hand = (self.hand + 1) % self.entries.len();
        // The slab is far shorter than 2^32: see `insert`.
        (self.hand as u32, &self.entries[self.hand])
    }

    /// A place for a subject that is not held. Something has to be written there, or it has to be tidied.
    pub(super) fn insert(&mut self, hash: [u64; 2]) -> Place {
        if (self.held + 1) * 4 > self.index.len() * 3 {
            self.grow();
        }
        let fresh = Entry::new(hash[0], tag(hash));
        let entry = match self.free {
            NONE => {
                self.entries.push(fresh);
                // 2^32 entries of 64 bytes are more than any shard's memory.
                (self.entries.len() - 1) as u32
            }
            free => {
                self.free = self.entries[free as usize].written;
                self.entries[free as usize] = fresh;
                free
            }
        };
        self.place(entry);
        self.held += 1;
        Place(entry)
    }

    fn vacate(&mut self, entry: u32) {
        self.unplace(entry);
        let vacated = &mut self.entries[entry as usize];
        vacated.clear();
        vacated.written = self.free;
        self.free = entry;
        self.held -= 1;
    }

    /// Puts an entry into the index.
    fn place(&mut self, entry: u32) {
        let tag = self.entries[entry as usize].tag;
        let mut at = self.home(tag);
        while self.index[at] != VACANT {
            at = self.after(at);
        }
        self.index[at] = tag & !self.mask() | entry;
    }

    /// Takes an entry out of the index and moves up what was displaced by it, so that no probe ends early.
    fn unplace(&mut self, entry: u32) {
        let mask = self.mask();
        let slot = self.entries[entry as usize].tag & !mask | entry;
        let mut hole = self.home(self.entries[entry as usize].tag);
        while self.index[hole] != slot {
            hole = self.after(hole);
        }
        let mut next = self.after(hole);
        while self.index[next] != VACANT {
            let home = self.home(self.entries[(self.index[next] & mask) as usize].tag);
            let displaced = next.wrapping_sub(home) & mask as usize;
            if displaced >= (next.wrapping_sub(hole) & mask as usize) {
                self.index[hole] = self.index[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.index[hole] = VACANT;
    }

    fn grow(&mut self) {
        let mask = self.mask();
        let old = std::mem::take(&mut self.index);
        self.index = vec![VACANT; old.len() * 2];
        for slot in old.into_iter().filter(|slot| *slot != VACANT) {
            self.place(slot & mask);
        }
    }

    /// The bits of a slot that say which entry. The index is far shorter than 2^32: see `insert`.
    fn mask(&self) -> u32 {
        (self.index.len() - 1) as u32
    }

    fn home(&self, tag: u32) -> usize {
        (tag & self.mask()) as usize
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.index.len() - 1)
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
    use crate::hold::Hold;
    use crate::memory::entry::MAX_CELLS;

    const END: i64 = 1_000;

    fn write(shard: &mut Shard, subject: u64, change: Change) {
        let place = shard.find(hash(subject)).unwrap_or_else(|| shard.insert(hash(subject)));
        shard.apply(place, change, 0);
        shard.tidy(place);
    }

    fn cell(until: i64) -> Change {
        Change::Cell(Cell { id: 1, numbers: Numbers::default(), until })
    }

    /// Hashes that collide in the index: eight subjects per tag.
    fn hash(subject: u64) -> [u64; 2] {
        [subject, subject / 8]
    }

    fn filled(subjects: u64) -> Shard {
        let mut shard = Shard::new();
        for subject in 0..subjects {
            write(&mut shard, subject, cell(END));
        }
        shard
    }

    fn is_held(shard: &Shard, subject: u64) -> bool {
        shard.state(shard.find(hash(subject))).first.is_some()
    }

    #[test]
    fn what_was_written_is_found_after_others_were_removed() {
        let mut shard = filled(1_000);
        for subject in (0..1_000).filter(|subject| subject % 3 != 0) {
            shard.remove(hash(subject));
        }
        for subject in 0..1_000 {
            assert_eq!(is_held(&shard, subject), subject % 3 == 0, "{subject}");
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
            write(&mut shard, subject, cell(END));
        }
        assert_eq!((shard.len(), shard.entries.len()), (100, 100));
    }

    #[test]
    fn the_subject_that_consumed_longest_ago_goes_first() {
        let mut shard = filled(10);
        write(&mut shard, 0, cell(END));
        assert!(shard.evict(0));
        assert!(!is_held(&shard, 1));
        assert!(is_held(&shard, 0));
    }

    #[test]
    fn an_expired_subject_goes_before_the_oldest() {
        let mut shard = filled(10);
        write(&mut shard, 7, cell(5));
        assert!(!shard.evict(6), "nothing that counted was dropped");
        assert!(!is_held(&shard, 7));
        assert_eq!(shard.len(), 9);
    }

    #[test]
    fn new_subjects_sweep_out_the_expired() {
        let mut shard = filled(100);
        for _ in 0..60 {
            shard.sweep(END);
        }
        assert_eq!(shard.len(), 0);
    }

    #[test]
    fn a_subject_whose_last_hold_ends_is_forgotten() {
        let mut shard = Shard::new();
        let hold = Hold { cell: 1, id: 7, amount: 1, until: END };
        write(&mut shard, 1, Change::Hold(hold));
        assert_eq!(shard.state(shard.find(hash(1))).holds, [hold]);
        write(&mut shard, 1, Change::EndHold { cell: 1, id: 7 });
        assert_eq!(shard.len(), 0);
    }

    #[test]
    fn the_cell_that_ends_first_makes_room() {
        let mut shard = Shard::new();
        for id in 0..100 {
            write(&mut shard, 1, Change::Cell(Cell { id, numbers: Numbers::default(), until: 1 + id.cast_signed() }));
        }
        let ids: Vec<u64> = shard.state(shard.find(hash(1))).cells().map(|cell| cell.id).collect();
        assert_eq!(ids.len(), MAX_CELLS);
        assert!(ids.iter().all(|id| *id >= 36), "{ids:?}");
    }
}

//! The subjects of one partition, in tables by their number of cells.
#![expect(clippy::indexing_slicing, reason = "places are made here, and good until subjects move")]
use std::num::NonZeroU32;

use crate::algorithm::{Cell, Log};
use crate::state::{Change, StateRef};

use super::table::{Head, Table};

/// Widths 1, 2, 4 to 64, which is the most cells of a subject. A further cell replaces the one that ends
/// first, as in the script on Redis.
const TABLES: usize = 7;
/// Places examined for every new subject. More than half of them are taken, so expired subjects are
/// found faster than new ones arrive.
const SWEEP: usize = 4;
/// Subjects examined when one must go: an expired one, or else the one among them that was written longest ago.
const SEARCH: usize = 32;

/// The place of a subject, valid until any subject is added, widened or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    table: u32,
    at: u32,
}

#[derive(Debug)]
pub(super) struct Shard {
    tables: [Table; TABLES],
    held: usize,
    writes: NonZeroU32,
    /// The table of the next sweep, and how many of its places are still to come.
    hand: (usize, usize),
    checks: u64,
}

impl Shard {
    pub(super) fn new() -> Self {
        let tables = std::array::from_fn(|power| Table::new(1 << power));
        Self { tables, held: 0, writes: NonZeroU32::MIN, hand: (0, 0), checks: 0 }
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

    /// A subject's state; empty when the subject is unknown.
    #[inline(always)]
    pub(super) fn state(&self, place: Option<Place>) -> StateRef<'_> {
        place.map_or(StateRef::default(), |place| self.tables[place.table as usize].state(place.at as usize))
    }

    /// The first `count` cells of a subject without reservations and logs, to be written in place.
    #[inline(always)]
    pub(super) fn cells_mut(&mut self, place: Place, count: usize) -> Option<&mut [Cell]> {
        self.tables[place.table as usize].cells_mut(place.at as usize, count)
    }

    /// Every subject, for a snapshot.
    pub(super) fn subjects(&self) -> impl Iterator<Item = ([u64; 2], StateRef<'_>)> {
        self.tables.iter().flat_map(Table::subjects).map(|(head, state)| (head.hash(), state))
    }

    /// The place of a subject. Searches the table of this number of cells first.
    #[inline(always)]
    pub(super) fn find(&self, hash: [u64; 2], cells: usize) -> Option<Place> {
        let likely = table_of(cells);
        self.tables[likely].find(hash).map(|at| Place::new(likely, at)).or_else(|| self.find_elsewhere(hash, likely))
    }

    #[inline(never)]
    fn find_elsewhere(&self, hash: [u64; 2], unlikely: usize) -> Option<Place> {
        let mut others = self.tables.iter().enumerate().filter(|(table, _)| *table != unlikely);
        others.find_map(|(table, others)| Some(Place::new(table, others.find(hash)?)))
    }

    /// A place for an unknown subject, with room for this many cells. The caller must write something there,
    /// or call [`tidy`](Self::tidy).
    pub(super) fn insert(&mut self, hash: [u64; 2], cells: usize) -> Place {
        self.held += 1;
        let table = table_of(cells);
        Place::new(table, self.tables[table].insert(Head::new(hash)))
    }

    /// Changes the state of a subject. True when subjects moved.
    pub(super) fn apply(&mut self, place: Place, change: Change, now: i64) -> bool {
        if let Change::Cell(cell) = change {
            return self.write(place, 0, &cell, now);
        }
        self.tables[place.table as usize].change(place.at as usize, change, now);
        false
    }

    /// Adds a log of a subject from a snapshot.
    pub(super) fn push_log(&mut self, place: Place, log: Log) {
        self.tables[place.table as usize].lists_mut(place.at as usize).get_or_insert_default().push(log);
    }

    /// Writes a cell, and looks for it at `guess` first. True when subjects moved.
    #[inline(always)]
    pub(super) fn write(&mut self, place: Place, guess: usize, cell: &Cell, now: i64) -> bool {
        !self.tables[place.table as usize].write(place.at as usize, guess, cell, now) && self.widen(place, cell)
    }

    /// Moves a subject whose cells all count to the next wider table. False when it has the most cells already.
    #[inline(never)]
    fn widen(&mut self, Place { table, at }: Place, cell: &Cell) -> bool {
        let (table, at) = (table as usize, at as usize);
        let (from, to) = (table, table + 1);
        if to == TABLES {
            self.tables[from].overwrite(at, cell);
            return false;
        }
        let cells: Vec<Cell> = self.tables[from].state(at).cells().copied().collect();
        if let Some(head) = self.tables[from].head(at).copied() {
            let lists = self.tables[from].remove(at);
            let at = self.tables[to].insert(head);
            if lists.is_some() {
                *self.tables[to].lists_mut(at) = lists;
            }
            for cell in cells.iter().chain([cell]) {
                self.tables[to].write(at, 0, cell, i64::MIN);
            }
        }
        true
    }

    /// Records that a subject was written. False when it has no state left.
    #[inline]
    pub(super) fn mark(&mut self, place: Place) -> bool {
        self.writes = self.writes.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let (table, at) = (&mut self.tables[place.table as usize], place.at as usize);
        table.mark(at, self.writes);
        !is_empty(table.state(at))
    }

    /// Removes a subject if it has no state left.
    pub(super) fn tidy(&mut self, hash: [u64; 2]) {
        if let Some(place) = self.find(hash, 0)
            && is_empty(self.state(Some(place)))
        {
            self.forget(place);
        }
    }

    /// Forgets a subject.
    pub(super) fn remove(&mut self, hash: [u64; 2]) {
        if let Some(place) = self.find(hash, 0) {
            self.forget(place);
        }
    }

    fn forget(&mut self, place: Place) {
        self.tables[place.table as usize].remove(place.at as usize);
        self.held -= 1;
    }

    /// Makes room for one subject. True when one that still counted was removed.
    pub(super) fn evict(&mut self, now: i64) -> bool {
        let mut oldest = None;
        let mut seen = 0;
        while seen < SEARCH.min(self.held) {
            let Some((place, written)) = self.next() else { continue };
            if is_expired(self.state(Some(place)), now) {
                self.forget(place);
                return false;
            }
            let age = self.writes.get().wrapping_sub(written.get());
            oldest = oldest.max(Some((age, place)));
            seen += 1;
        }
        if let Some((_, place)) = oldest {
            self.forget(place);
        }
        oldest.is_some()
    }

    /// Drops expired subjects as the hand passes them, about as many as were added.
    pub(super) fn sweep(&mut self, now: i64) {
        for _ in 0..SWEEP {
            if let Some((place, _)) = self.next()
                && is_expired(self.state(Some(place)), now)
            {
                self.forget(place);
            }
        }
    }

    /// Moves the hand on by one place, downwards, because a removal moves subjects only to places that it has passed.
    /// Returns the subject there, and when it was written.
    fn next(&mut self) -> Option<(Place, NonZeroU32)> {
        let (mut table, mut left) = self.hand;
        // Most tables of most shards are empty.
        for _ in 0..TABLES {
            if left == 0 {
                table = (table + 1) % TABLES;
                left = self.tables[table].len();
            }
        }
        let at = left.min(self.tables[table].len()).checked_sub(1)?;
        self.hand = (table, at);
        Some((Place::new(table, at), self.tables[table].head(at)?.written))
    }
}

impl Place {
    /// No shard's memory can hold 2^32 subjects.
    #[inline(always)]
    fn new(table: usize, at: usize) -> Self {
        Self { table: table as u32, at: at as u32 }
    }
}

/// The narrowest table with room for this many cells.
#[inline(always)]
fn table_of(cells: usize) -> usize {
    (cells.max(1).next_power_of_two().trailing_zeros() as usize).min(TABLES - 1)
}

fn is_empty(state: StateRef<'_>) -> bool {
    state.lists.is_none() && state.cells().next().is_none()
}

fn is_expired(state: StateRef<'_>, now: i64) -> bool {
    state.cells.iter().all(|cell| cell.until <= now) && state.lists.is_none_or(|lists| lists.until() <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{algorithm::Numbers, reservation::Reservation};

    const END: i64 = 1_000;

    fn write(shard: &mut Shard, subject: u64, change: Change) {
        let place = shard.find(hash(subject), 1).unwrap_or_else(|| shard.insert(hash(subject), 1));
        if shard.apply(place, change, 0) || !shard.mark(place) {
            shard.tidy(hash(subject));
        }
    }

    fn cell(until: i64) -> Change {
        Change::Cell(Cell { id: 1, numbers: Numbers::default(), until })
    }

    /// Colliding hashes: eight subjects per home.
    fn hash(subject: u64) -> [u64; 2] {
        [subject, (subject / 8).wrapping_mul(0x9e37_79b9)]
    }

    fn filled(subjects: u64) -> Shard {
        let mut shard = Shard::new();
        for subject in 0..subjects {
            write(&mut shard, subject, cell(END));
        }
        shard
    }

    fn is_held(shard: &Shard, subject: u64) -> bool {
        shard.find(hash(subject), 1).is_some()
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
    fn a_freed_place_is_used_again() {
        let mut shard = filled(100);
        let places = shard.tables[0].len();
        for subject in 0..50 {
            shard.remove(hash(subject));
        }
        for subject in 100..150 {
            write(&mut shard, subject, cell(END));
        }
        assert_eq!((shard.len(), shard.tables[0].len()), (100, places));
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
        let hold = Reservation { cell: 1, id: 7, amount: 1, until: END };
        write(&mut shard, 1, Change::Reservation(hold));
        assert_eq!(shard.state(shard.find(hash(1), 1)).reservations(), [hold]);
        write(&mut shard, 1, Change::EndReservation { cell: 1, id: 7 });
        assert_eq!(shard.len(), 0);
    }

    #[test]
    fn the_cell_that_ends_first_makes_room() {
        let mut shard = Shard::new();
        for id in 0..100 {
            write(&mut shard, 1, Change::Cell(Cell { id, numbers: Numbers::default(), until: 1 + id.cast_signed() }));
        }
        let ids: Vec<u64> = shard.state(shard.find(hash(1), 1)).cells().map(|cell| cell.id).collect();
        assert_eq!(ids.len(), 64);
        assert!(ids.iter().all(|id| *id >= 36), "{ids:?}");
    }
}

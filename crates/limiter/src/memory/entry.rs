//! What is held of one subject.
use smallvec::SmallVec;

use crate::algorithm::{Cell, Numbers};
use crate::hold::Hold;
use crate::state::{Change, StateRef};

/// Most cells of a subject; past it the one that ends first is dropped. The script on Redis does the same.
pub(super) const MAX_CELLS: usize = 64;
/// Ids of cells have 52 bits.
const NO_CELL: Cell = Cell { id: u64::MAX, numbers: Numbers { a: 0, b: 0, c: 0 }, until: i64::MIN };

/// A subject, in one cache line. It keeps 96 of its 128 bits of hash: a million subjects share any with a probability of
/// 2^-57.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) hash: u64,
    /// Finds the entry in the index.
    pub(super) tag: u32,
    /// The shard's count of writes when this was written last; a free entry's is the next free one.
    pub(super) written: u32,
    /// Its id is `NO_CELL` when there is none: an `Option` would not fit.
    first: Cell,
    more: Option<Box<More>>,
}

/// What few subjects have: more than one limit, and holds.
#[derive(Debug, Default)]
struct More {
    cells: SmallVec<[Cell; 3]>,
    holds: Vec<Hold>,
}

impl Entry {
    pub(super) fn new(hash: u64, tag: u32) -> Self {
        Self { hash, tag, written: 0, first: NO_CELL, more: None }
    }

    /// Drops the state. What is left is a free entry.
    pub(super) fn clear(&mut self) {
        (self.first, self.more) = (NO_CELL, None);
    }

    pub(super) fn state(&self) -> StateRef<'_> {
        let more = self.more.as_deref();
        StateRef {
            first: (self.first.id != NO_CELL.id).then_some(&self.first),
            rest: more.map_or(&[], |more| &more.cells),
            holds: more.map_or(&[], |more| &more.holds),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.id == NO_CELL.id && self.more.is_none()
    }

    pub(super) fn is_expired(&self, now: i64) -> bool {
        let state = self.state();
        state.cells().all(|cell| cell.until <= now) && state.holds.iter().all(|hold| hold.until <= now)
    }

    pub(super) fn apply(&mut self, change: Change, now: i64) {
        match change {
            Change::Cell(cell) => self.write(cell, now),
            Change::Hold(hold) => {
                let holds = &mut self.more.get_or_insert_default().holds;
                holds.retain(|held| held.until > now && (held.cell, held.id) != (hold.cell, hold.id));
                holds.push(hold);
            }
            Change::EndHold { cell, id } => {
                if let Some(more) = &mut self.more {
                    more.holds.retain(|held| held.until > now && (held.cell, held.id) != (cell, id));
                    if more.holds.is_empty() && more.cells.is_empty() {
                        self.more = None;
                    }
                }
            }
        }
    }

    #[inline(never)]
    pub(super) fn write(&mut self, cell: Cell, now: i64) {
        let rest = self.more.iter_mut().flat_map(|more| &mut more.cells);
        match std::iter::once(&mut self.first).chain(rest).find(|held| held.id == cell.id) {
            Some(held) => *held = cell,
            None => self.append(cell, now),
        }
    }

    /// The cell called `id`, if it is the one at `guess`.
    #[inline(always)]
    pub(super) fn guessed(&mut self, id: u64, guess: usize) -> Option<&mut Cell> {
        let cell = match guess.checked_sub(1) {
            None => &mut self.first,
            Some(guess) => self.more.as_mut()?.cells.get_mut(guess)?,
        };
        (cell.id == id).then_some(cell)
    }

    /// Adds a cell. Dead cells go first, and the one that ends first when there are too many.
    fn append(&mut self, cell: Cell, now: i64) {
        if self.first.until <= now {
            self.first = cell;
            return;
        }
        let cells = &mut self.more.get_or_insert_default().cells;
        cells.retain(|held| held.until > now);
        if cells.len() + 1 < MAX_CELLS {
            cells.push(cell);
        } else if let Some(ends_first) = std::iter::once(&mut self.first).chain(cells).min_by_key(|held| held.until) {
            *ends_first = cell;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }
}

//! The state of one subject, as both stores hold it: a cell per limit, and what is held.
use crate::algorithm::{Cell, NO_CELL};
use crate::hold::Hold;

/// A subject's state, looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StateRef<'s> {
    /// With room for more: some may be `NO_CELL`.
    pub(crate) cells: &'s [Cell],
    pub(crate) holds: &'s [Hold],
}

/// One thing to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Cell(Cell),
    /// Takes the place of a hold of the same name on the same cell.
    Hold(Hold),
    EndHold {
        cell: u64,
        id: u64,
    },
}

/// The states of a check's subjects, by the index of their part.
pub(crate) trait States {
    fn state(&self, part: usize) -> StateRef<'_>;
    /// The cells of a part, to be written in place; none unless they stand in the order of its limits and nothing is held.
    fn cells_in_order(&mut self, part: usize) -> Option<&mut [Cell]>;
    fn write(&mut self, part: usize, change: Change);
    /// Writes the cell of the part's limit number `index`, which mostly is its place among the cells too.
    fn write_cell(&mut self, part: usize, index: usize, cell: &Cell);
}

impl<'s> StateRef<'s> {
    /// The cell called `id`; a subject's cells mostly stand in the order of its limits.
    #[inline]
    pub(crate) fn cell(&self, id: u64, guess: usize) -> Option<&'s Cell> {
        let guessed = self.cells.get(guess).filter(|cell| cell.id == id);
        guessed.or_else(|| self.cells.iter().find(|cell| cell.id == id))
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &'s Cell> + use<'s> {
        self.cells.iter().filter(|cell| cell.id != NO_CELL.id)
    }
}

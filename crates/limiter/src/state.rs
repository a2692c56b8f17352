//! The state of one subject, as both stores hold it: a cell per limit, and what is held.
use crate::algorithm::Cell;
use crate::hold::Hold;

/// A subject's state, looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StateRef<'s> {
    /// In two pieces: the memory store keeps the first cell apart.
    pub(crate) first: Option<&'s Cell>,
    pub(crate) rest: &'s [Cell],
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
    fn write(&mut self, part: usize, change: Change);
    /// Writes the cell of the part's limit number `index`, which mostly is its place among the cells too.
    fn write_cell(&mut self, part: usize, index: usize, cell: &Cell);
}

impl<'s> StateRef<'s> {
    /// The cell called `id`; a subject's cells mostly stand in the order of its limits.
    #[inline]
    pub(crate) fn cell(&self, id: u64, guess: usize) -> Option<&'s Cell> {
        let guessed = if guess == 0 { self.first } else { self.rest.get(guess - 1) };
        guessed.filter(|cell| cell.id == id).or_else(|| self.cells().find(|cell| cell.id == id))
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &'s Cell> + use<'s> {
        self.first.into_iter().chain(self.rest)
    }
}

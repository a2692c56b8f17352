//! The state of one subject, as both stores hold it: a cell per limit, and what is held.
use crate::algorithm::Cell;
use crate::hold::Hold;

/// A subject's state, looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StateRef<'s> {
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

impl<'s> StateRef<'s> {
    pub(crate) fn cell(&self, id: u64) -> Option<&'s Cell> {
        self.cells.iter().find(|cell| cell.id == id)
    }
}

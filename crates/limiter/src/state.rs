//! The state of one subject, as both stores hold it: a cell per counting limit, a log per
//! logging limit, and reservations.
use smallvec::SmallVec;

use crate::{
    algorithm::{Cell, Log, LogDeed, NO_CELL, SlidingLog},
    reservation::Reservation,
};

/// Most logs of a subject, as of cells. A further log replaces the one that ends first, as in the script on Redis.
const MAX_LOGS: usize = 64;

/// The reservations and logs of a subject. Few subjects have any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
    pub(crate) reservations: SmallVec<[Reservation; 1]>,
    /// Kept while they have an effect. None is empty.
    pub(crate) logs: Vec<Log>,
}

/// A subject's state, read-only.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StateRef<'s> {
    /// Includes spare room: some may be `NO_CELL`.
    pub(crate) cells: &'s [Cell],
    pub(crate) lists: Option<&'s Lists>,
}

/// One change to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Cell(Cell),
    /// Replaces a reservation of the same name on the same cell.
    Reservation(Reservation),
    EndReservation {
        cell: u64,
        id: u64,
    },
    Log {
        id: u64,
        rule: SlidingLog,
        deed: LogDeed,
    },
}

/// The states of a check's subjects, by the index of their part.
pub(crate) trait States {
    fn state(&self, part: usize) -> StateRef<'_>;
    /// The cells of a part, to be written in place. None unless they are in the order of its limits and
    /// the subject has no reservations.
    fn cells_in_order(&mut self, part: usize) -> Option<&mut [Cell]>;
    fn write(&mut self, part: usize, change: Change);
    /// Writes the cell of the part's limit `index`, which is usually also the place of the cell.
    fn write_cell(&mut self, part: usize, index: usize, cell: &Cell);
}

impl<'s> StateRef<'s> {
    /// The cell called `id`. A subject's cells are usually in the order of its limits.
    #[inline]
    pub(crate) fn cell(&self, id: u64, guess: usize) -> Option<&'s Cell> {
        let guessed = self.cells.get(guess).filter(|cell| cell.id == id);
        guessed.or_else(|| self.cells.iter().find(|cell| cell.id == id))
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &'s Cell> + use<'s> {
        self.cells.iter().filter(|cell| cell.id != NO_CELL.id)
    }

    pub(crate) fn reservations(&self) -> &'s [Reservation] {
        self.lists.map_or(&[], |lists| &lists.reservations)
    }

    pub(crate) fn logs(&self) -> &'s [Log] {
        self.lists.map_or(&[], |lists| &lists.logs)
    }

    /// The log of the limit called `id`.
    pub(crate) fn log(&self, id: u64) -> Option<&'s Log> {
        self.logs().iter().find(|log| log.id == id)
    }
}

impl Lists {
    pub(crate) fn is_empty(&self) -> bool {
        self.reservations.is_empty() && self.logs.is_empty()
    }

    /// The moment from which they have no effect.
    pub(crate) fn until(&self) -> i64 {
        let ends = self.reservations.iter().map(|hold| hold.until).chain(self.logs.iter().map(|log| log.until));
        ends.max().unwrap_or(i64::MIN)
    }

    /// Changes reservations or logs. Cells are written elsewhere.
    pub(crate) fn apply(&mut self, change: Change, now: i64) {
        match change {
            Change::Cell(_) => {}
            Change::Reservation(hold) => {
                self.reservations.retain(|held| held.until > now && (held.cell, held.id) != (hold.cell, hold.id));
                self.reservations.push(hold);
            }
            Change::EndReservation { cell, id } => {
                self.reservations.retain(|held| held.until > now && (held.cell, held.id) != (cell, id));
            }
            Change::Log { id, rule, deed } => {
                let log = match deed {
                    LogDeed::Consume(_) => self.log_mut(id, now),
                    LogDeed::Move | LogDeed::GiveBack(..) => self.logs.iter_mut().find(|log| log.id == id),
                };
                if let Some(log) = log {
                    rule.act(log, deed, now);
                }
                self.logs.retain(|log| !log.is_empty());
            }
        }
    }

    /// Adds a log as a store kept it.
    pub(crate) fn push(&mut self, log: Log) {
        self.logs.reserve_exact(1);
        self.logs.push(log);
    }

    /// The log of the limit called `id`, begun if there is none. Drops logs that have no effect any more.
    fn log_mut(&mut self, id: u64, now: i64) -> Option<&mut Log> {
        self.logs.retain(|log| log.until > now || log.id == id);
        if let Some(at) = self.logs.iter().position(|log| log.id == id) {
            return self.logs.get_mut(at);
        }
        let first = self.logs.iter().enumerate().min_by_key(|(_, log)| log.until).map(|(at, _)| at);
        if let Some(at) = first.filter(|_| self.logs.len() >= MAX_LOGS) {
            self.logs.remove(at);
        }
        self.push(Log::new(id, now, []));
        self.logs.last_mut()
    }
}

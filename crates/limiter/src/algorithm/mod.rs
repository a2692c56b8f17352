//! The specification: one pure rule per algorithm, over a cell of three numbers. Both stores hold exactly these cells.
mod fixed_window;
mod sliding_window;

pub(crate) use fixed_window::FixedWindow;
pub(crate) use sliding_window::SlidingWindow;

use crate::check::Part;
use crate::decision::LimitStatus;
use crate::limit::{Limit, Mode};

/// A cell's three numbers; each algorithm gives them their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Numbers {
    pub(crate) a: i64,
    pub(crate) b: i64,
    pub(crate) c: i64,
}

/// One limit's state within a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) id: u64,
    pub(crate) numbers: Numbers,
    /// µs after which the cell says nothing any more and may be dropped.
    pub(crate) until: i64,
}

/// A cell brought to `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rolled {
    pub(crate) numbers: Numbers,
    /// The moment the rule counts with: now, or the cell's own beginning when the clock stepped back before it.
    pub(crate) at: i64,
    /// From when on the cell says nothing any more.
    pub(crate) until: i64,
    /// The clock went back so far that the cell was moved: it must be written even when nothing is consumed.
    pub(crate) moved: bool,
}

/// An algorithm with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    SlidingWindow(SlidingWindow),
    FixedWindow(FixedWindow),
}

macro_rules! each {
    ($rule:expr, $it:ident => $body:expr) => {
        match $rule {
            Rule::SlidingWindow($it) => $body,
            Rule::FixedWindow($it) => $body,
        }
    };
}

impl Rule {
    pub(crate) fn limit(&self) -> i64 {
        each!(self, it => it.limit)
    }

    /// The length of a window, µs; the shortest there is for a calendar's.
    pub(crate) fn window_length(&self) -> Option<i64> {
        match self {
            Self::SlidingWindow(rule) => Some(rule.window),
            Self::FixedWindow(rule) => Some(rule.window.shortest()),
        }
    }

    /// The cell as of `now`. Time never goes back for a cell, unless by more than a window: then it is moved, count kept.
    pub(crate) fn roll(&self, cell: Option<&Cell>, now: i64) -> Rolled {
        each!(self, it => it.roll(cell, now))
    }

    /// Raises the count of the period that starts at `start` to at least `used`; false when that changes nothing.
    pub(crate) fn raise(&self, numbers: &mut Numbers, start: i64, used: i64) -> bool {
        match self {
            Self::FixedWindow(rule) => rule.raise(numbers, start, used),
            Self::SlidingWindow(_) => false,
        }
    }

    pub(crate) fn used(&self, rolled: &Rolled) -> i64 {
        each!(self, it => it.used(rolled))
    }

    pub(crate) fn consume(&self, numbers: &mut Numbers, cost: u32) {
        each!(self, it => it.consume(numbers, i64::from(cost)))
    }

    /// The earliest moment at which `cost` fits if nothing else is consumed; `i64::MAX` for never.
    pub(crate) fn fits_at(&self, rolled: &Rolled, cost: u32) -> i64 {
        each!(self, it => it.fits_at(rolled, i64::from(cost)))
    }

    /// When the window of a rolled cell ends.
    pub(crate) fn resets_at(&self, rolled: &Rolled) -> i64 {
        each!(self, it => it.resets_at(rolled))
    }
}

/// Whether `limit` lets `cost` through on top of `used`.
pub(crate) fn admits(limit: &Limit, used: i64, cost: u32) -> bool {
    cost == 0 || limit.mode() == Mode::Count || used.saturating_add(i64::from(cost)) <= limit.quota().rule().limit()
}

/// Rolls a limit's cell to `now` and raises it to the part's floors; true beside it when it must be written in any case.
pub(crate) fn prepare(part: &Part<'_>, index: usize, limit: &Limit, cell: Option<&Cell>, now: i64) -> (Rolled, bool) {
    let rule = limit.quota().rule();
    let mut rolled = rule.roll(cell, now);
    let mut changed = rolled.moved;
    for floor in part.floors.iter().filter(|floor| floor.limit_index == index) {
        let used = i64::try_from(floor.used).unwrap_or(i64::MAX);
        changed |= rule.raise(&mut rolled.numbers, floor.period_start.clamped(), used);
    }
    (rolled, changed)
}

/// Where a limit stands, from its cell after the check. `admitted` is what the limit said before anything was consumed.
pub(crate) fn status(limit: &Limit, rolled: &Rolled, cost: u32, admitted: bool, now: i64) -> LimitStatus {
    let rule = limit.quota().rule();
    LimitStatus {
        limit: rule.limit(),
        used: rule.used(rolled),
        at: now,
        resets_at: rule.resets_at(rolled),
        fits_at: if admitted { i64::MIN } else { rule.fits_at(rolled, cost) },
        part: 0,
        index: 0,
        allowed: admitted,
    }
}

//! The specification: one pure rule per algorithm, over a cell of three numbers. Both stores hold exactly these cells.
mod fixed_window;
mod sliding_window;
mod token_bucket;

pub(crate) use fixed_window::FixedWindow;
pub(crate) use sliding_window::SlidingWindow;
pub(crate) use token_bucket::TokenBucket;

use crate::check::Part;
use crate::decision::LimitStatus;
use crate::limit::{Limit, Mode};

/// Longest life of a slice of a limit taken in advance, µs.
pub(crate) const SLICE_LIFE: i64 = 100_000;

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
    TokenBucket(TokenBucket),
}

macro_rules! each {
    ($rule:expr, $it:ident => $body:expr) => {
        match $rule {
            Rule::SlidingWindow($it) => $body,
            Rule::FixedWindow($it) => $body,
            Rule::TokenBucket($it) => $body,
        }
    };
}

impl Rule {
    /// The most that can be used at once.
    pub(crate) fn limit(&self) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rule.limit,
            Self::FixedWindow(rule) => rule.limit,
            Self::TokenBucket(rule) => rule.burst,
        }
    }

    /// What can be admitted beyond the limit while nodes hold slices; for a bucket, what flows in while a slice lasts.
    pub(crate) fn max_overshoot(&self) -> i64 {
        match self {
            Self::SlidingWindow(_) | Self::FixedWindow(_) => 0,
            Self::TokenBucket(rule) => ceil_div(rule.limit * SLICE_LIFE, rule.window),
        }
    }

    /// Whether slices may be taken: not of windows so short that a slice lasts a large part of one.
    #[cfg(feature = "redis")]
    pub(crate) fn spares_slices(&self) -> bool {
        match self {
            Self::SlidingWindow(rule) => rule.window >= 10 * SLICE_LIFE,
            Self::FixedWindow(rule) => rule.window.shortest() >= 10 * SLICE_LIFE,
            Self::TokenBucket(_) => self.max_overshoot() >= 32,
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
            Self::SlidingWindow(_) | Self::TokenBucket(_) => false,
        }
    }

    pub(crate) fn used(&self, rolled: &Rolled) -> i64 {
        each!(self, it => it.used(rolled))
    }

    pub(crate) fn consume(&self, rolled: &mut Rolled, cost: i64) {
        match self {
            Self::SlidingWindow(rule) => rule.consume(&mut rolled.numbers, cost),
            Self::FixedWindow(rule) => rule.consume(&mut rolled.numbers, cost),
            Self::TokenBucket(rule) => rule.consume(rolled, cost),
        }
    }

    /// Takes back what was consumed at `moment`, as far as its window still counts; false when that changes nothing.
    pub(crate) fn give_back(&self, rolled: &mut Rolled, amount: i64, moment: i64) -> bool {
        match self {
            Self::SlidingWindow(rule) => rule.give_back(&mut rolled.numbers, amount, moment),
            Self::FixedWindow(rule) => rule.give_back(&mut rolled.numbers, amount, moment),
            Self::TokenBucket(rule) => rule.give_back(rolled, amount),
        }
    }

    /// The earliest moment at which `cost` fits if nothing else is consumed; `i64::MAX` for never.
    pub(crate) fn fits_at(&self, rolled: &Rolled, cost: i64) -> i64 {
        each!(self, it => it.fits_at(rolled, cost))
    }

    /// When the window of a rolled cell ends, or its bucket is full.
    pub(crate) fn resets_at(&self, rolled: &Rolled) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rule.resets_at(rolled),
            Self::FixedWindow(_) | Self::TokenBucket(_) => rolled.until,
        }
    }
}

/// What a check of `cost` takes from `limit`. At most 2^32 * 10^6, so below 2^52.
pub(crate) fn price(limit: &Limit, cost: u32) -> i64 {
    i64::from(cost) * i64::from(limit.weight())
}

/// Whether `limit` lets `price` through on top of `used`.
pub(crate) fn admits(limit: &Limit, used: i64, price: i64) -> bool {
    price == 0 || limit.mode() == Mode::Count || used.saturating_add(price) <= limit.quota().rule().limit()
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
pub(crate) fn status(limit: &Limit, rolled: &Rolled, price: i64, admitted: bool, now: i64) -> LimitStatus {
    let rule = limit.quota().rule();
    LimitStatus {
        limit: rule.limit(),
        used: rule.used(rolled),
        at: now,
        resets_at: rule.resets_at(rolled),
        fits_at: if admitted { i64::MIN } else { rule.fits_at(rolled, price) },
        part: 0,
        index: 0,
        allowed: admitted,
    }
}

/// For a dividend of 0 or more and a divisor above 0.
fn ceil_div(dividend: i64, divisor: i64) -> i64 {
    (dividend + divisor - 1) / divisor
}

/// Lowers a count, not below 0; false when it was 0.
fn take_from(count: &mut i64, amount: i64) -> bool {
    let changed = *count > 0 && amount > 0;
    *count = (*count - amount).max(0);
    changed
}

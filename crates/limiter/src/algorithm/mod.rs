//! The specification: one pure rule per algorithm, over a cell of three numbers or over a log.
//! Both stores keep exactly these.
mod concurrency;
mod fixed_window;
mod sliding_log;
mod sliding_window;
mod token_bucket;

pub(crate) use concurrency::Concurrency;
pub(crate) use fixed_window::FixedWindow;
pub(crate) use sliding_log::{Log, LogDeed, MAX_UNITS, Moment, SlidingLog};
pub(crate) use sliding_window::SlidingWindow;
pub(crate) use token_bucket::TokenBucket;

/// Longest life of a slice of a limit taken in advance, µs.
pub(crate) const SLICE_LIFE: i64 = 100_000;

/// A cell's three numbers. Each algorithm defines their meaning.
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
    /// µs after which the cell has no effect and may be dropped.
    pub(crate) until: i64,
}

/// Stands for a missing cell, and is expired like one. Ids of cells have 52 bits, so none has this id.
pub(crate) const NO_CELL: Cell = Cell { id: u64::MAX, numbers: Numbers { a: 0, b: 0, c: 0 }, until: i64::MIN };

/// A cell brought to `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rolled {
    pub(crate) numbers: Numbers,
    /// The moment that the rule uses: now, or the cell's own beginning when the clock stepped back before it.
    pub(crate) at: i64,
    /// The end of the window that `at` is in.
    pub(crate) end: i64,
    /// The clock stepped back so far that the cell was moved: it must be written even when nothing is consumed.
    pub(crate) moved: bool,
}

impl Rolled {
    /// For a limit that has no cell.
    fn without_cell(now: i64) -> Self {
        Self { numbers: Numbers::default(), at: now, end: now, moved: false }
    }
}

/// An algorithm with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    SlidingWindow(SlidingWindow),
    SlidingLog(SlidingLog),
    FixedWindow(FixedWindow),
    TokenBucket(TokenBucket),
    Concurrency(Concurrency),
}

impl Rule {
    /// The most that can be used at once.
    #[inline(always)]
    pub(crate) fn limit(&self) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rule.limit,
            Self::SlidingLog(rule) => rule.limit,
            Self::FixedWindow(rule) => rule.limit,
            Self::TokenBucket(rule) => rule.burst,
            Self::Concurrency(rule) => rule.limit,
        }
    }

    /// How much can be admitted beyond the limit while nodes hold slices; for a bucket, what
    /// flows in during a slice's life.
    pub(crate) fn max_overshoot(&self) -> i64 {
        match self {
            Self::SlidingWindow(_) | Self::SlidingLog(_) | Self::FixedWindow(_) | Self::Concurrency(_) => 0,
            Self::TokenBucket(rule) => ceil_div(rule.limit * SLICE_LIFE, rule.window),
        }
    }

    /// Whether slices may be taken. Not for windows so short that a slice lasts a large part of one, and not for logs,
    /// which are too small for slices and must know the moment of every unit.
    #[cfg(feature = "redis")]
    pub(crate) fn spares_slices(&self) -> bool {
        match self {
            Self::SlidingWindow(rule) => rule.window >= 10 * SLICE_LIFE,
            Self::FixedWindow(rule) => rule.window.shortest() >= 10 * SLICE_LIFE,
            Self::TokenBucket(_) => self.max_overshoot() >= 32,
            Self::SlidingLog(_) | Self::Concurrency(_) => false,
        }
    }

    /// Whether the limit never consumes anything.
    #[inline(always)]
    pub(crate) fn only_reserves(&self) -> bool {
        matches!(self, Self::Concurrency(_))
    }

    /// The rule of a limit that keeps a log instead of a cell.
    #[inline(always)]
    pub(crate) fn of_log(&self) -> Option<SlidingLog> {
        if let Self::SlidingLog(rule) = self { Some(*rule) } else { None }
    }

    /// The cell as of `now`. Time never goes back for a cell, unless by more than a window: then the cell
    /// is moved and keeps its count.
    #[inline(always)]
    pub(crate) fn roll(&self, cell: Option<&Cell>, now: i64) -> Rolled {
        match self {
            Self::SlidingWindow(rule) => rule.roll(cell, now),
            Self::FixedWindow(rule) => rule.roll(cell, now),
            Self::TokenBucket(rule) => rule.roll(cell, now),
            Self::SlidingLog(_) | Self::Concurrency(_) => Rolled::without_cell(now),
        }
    }

    /// Raises the count of the period to at least `used`; false when that changes nothing.
    #[inline(always)]
    pub(crate) fn raise(&self, numbers: &mut Numbers, used: i64) -> bool {
        if let Self::FixedWindow(rule) = self { rule.raise(numbers, used) } else { false }
    }

    /// Units consumed by the cell's count. Reservations and logs come on top.
    #[inline(always)]
    pub(crate) fn used(&self, rolled: &Rolled) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rule.used(rolled),
            Self::FixedWindow(_) => rolled.numbers.b,
            Self::TokenBucket(rule) => rule.used(&rolled.numbers),
            Self::SlidingLog(_) | Self::Concurrency(_) => 0,
        }
    }

    /// Consumes, and returns by how much the use rises.
    #[inline(always)]
    pub(crate) fn consume(&self, rolled: &mut Rolled, price: i64) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rule.consume(&mut rolled.numbers, price),
            Self::FixedWindow(rule) => rule.consume(&mut rolled.numbers, price),
            Self::TokenBucket(rule) => rule.consume(&mut rolled.numbers, price),
            Self::SlidingLog(_) | Self::Concurrency(_) => 0,
        }
    }

    /// Use and size of the limit: `roll`, `used` and `limit` in one, for the many checks that need nothing else.
    #[inline(always)]
    pub(crate) fn peek(&self, cell: Option<&Cell>, now: i64) -> (i64, i64) {
        match self {
            Self::SlidingWindow(rule) => (rule.used(&rule.roll(cell, now)), rule.limit),
            Self::FixedWindow(rule) => (rule.roll(cell, now).numbers.b, rule.limit),
            Self::TokenBucket(rule) => (rule.used(&rule.roll(cell, now).numbers), rule.burst),
            Self::SlidingLog(SlidingLog { limit, .. }) | Self::Concurrency(Concurrency { limit, .. }) => (0, *limit),
        }
    }

    /// `roll`, `consume`, `until` and `resets_at` in one, in the cell itself. Returns by how much the
    /// use rises, and when it resets.
    #[inline(always)]
    pub(crate) fn spend(&self, cell: &mut Cell, price: i64, now: i64) -> (i64, i64) {
        match self {
            Self::SlidingWindow(rule) => {
                let mut rolled = rule.roll(Some(cell), now);
                let more = rule.consume(&mut rolled.numbers, price);
                (cell.numbers, cell.until) = (rolled.numbers, rolled.end + rule.window);
                (more, rolled.end)
            }
            Self::FixedWindow(rule) => {
                let mut rolled = rule.roll(Some(cell), now);
                let more = rule.consume(&mut rolled.numbers, price);
                (cell.numbers, cell.until) = (rolled.numbers, rolled.end);
                (more, rolled.end)
            }
            Self::TokenBucket(rule) => {
                let mut rolled = rule.roll(Some(cell), now);
                let more = rule.consume(&mut rolled.numbers, price);
                let full_at = rule.full_at(&rolled);
                (cell.numbers, cell.until) = (rolled.numbers, full_at);
                (more, full_at)
            }
            Self::SlidingLog(_) | Self::Concurrency(_) => (0, now),
        }
    }

    /// Takes back units consumed at `moment`, if their window still counts; false when that changes nothing.
    pub(crate) fn give_back(&self, rolled: &mut Rolled, amount: i64, moment: i64) -> bool {
        match self {
            Self::SlidingWindow(rule) => rule.give_back(&mut rolled.numbers, amount, moment),
            Self::FixedWindow(rule) => rule.give_back(&mut rolled.numbers, amount, moment),
            Self::TokenBucket(rule) => rule.give_back(&mut rolled.numbers, amount),
            Self::SlidingLog(_) | Self::Concurrency(_) => false,
        }
    }

    /// The earliest moment at which `price` fits if nothing else is consumed; `i64::MAX` for
    /// never. A log counts as empty here.
    pub(crate) fn fits_at(&self, rolled: &Rolled, price: i64) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rule.fits_at(rolled, price),
            Self::FixedWindow(rule) => rule.fits_at(rolled, price),
            Self::TokenBucket(rule) => rule.fits_at(rolled, price),
            Self::SlidingLog(SlidingLog { limit, .. }) | Self::Concurrency(Concurrency { limit, .. }) => {
                if price > *limit { i64::MAX } else { rolled.at }
            }
        }
    }

    /// When the window of a rolled cell ends, or its bucket is full.
    #[inline(always)]
    pub(crate) fn resets_at(&self, rolled: &Rolled) -> i64 {
        match self {
            Self::SlidingWindow(_) | Self::SlidingLog(_) | Self::FixedWindow(_) | Self::Concurrency(_) => rolled.end,
            Self::TokenBucket(rule) => rule.full_at(rolled),
        }
    }

    /// The moment from which a rolled cell has no effect.
    #[inline(always)]
    pub(crate) fn until(&self, rolled: &Rolled) -> i64 {
        match self {
            Self::SlidingWindow(rule) => rolled.end + rule.window,
            Self::SlidingLog(_) | Self::FixedWindow(_) | Self::Concurrency(_) => rolled.end,
            Self::TokenBucket(rule) => rule.full_at(rolled),
        }
    }
}

/// For a dividend of at least 0 and a divisor above 0.
fn ceil_div(dividend: i64, divisor: i64) -> i64 {
    (dividend + divisor - 1) / divisor
}

/// Raises a count to at most `most`; returns by how much.
#[inline(always)]
fn add_to(count: &mut i64, amount: i64, most: i64) -> i64 {
    let before = *count;
    *count = before.saturating_add(amount).min(most);
    *count - before
}

/// Lowers a count to at least 0; false when it was 0.
fn take_from(count: &mut i64, amount: i64) -> bool {
    let changed = *count > 0 && amount > 0;
    *count = (*count - amount).max(0);
    changed
}

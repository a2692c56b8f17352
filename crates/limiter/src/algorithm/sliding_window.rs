//! Sliding window: all of the current window plus the part of the previous one that still overlaps,
//! assumed to be evenly spread. Cell: `a` start of the current window (µs), `b` count of the previous
//! window, `c` count of the current one.
use super::{Cell, Numbers, Rolled, add_to, ceil_div, take_from};

/// The window is divided into at most this many ticks: a count below 2^32 times a tick number stays below 2^53.
const MAX_TICKS: i64 = 1 << 20;
const WHOLE_TICKS: i64 = 1_000_000;
/// Counts stop here, above every legal limit.
const MAX_COUNT: i64 = 1 << 32;

/// At most `limit` in any `window` µs. Rounds towards denying, by less than one tick of the previous window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    pub(crate) limit: i64,
    pub(crate) window: i64,
    /// µs per tick.
    pub(crate) tick: i64,
    /// Ticks per window.
    pub(crate) ticks: i64,
}

impl SlidingWindow {
    pub(crate) fn new(limit: i64, window: i64) -> Self {
        // A millionth of a window of whole seconds is a whole number of µs, so that a quarter of
        // the window counts as a quarter.
        let tick = if window % WHOLE_TICKS == 0 { window / WHOLE_TICKS } else { ceil_div(window, MAX_TICKS) };
        Self { limit, window, tick, ticks: ceil_div(window, tick) }
    }

    #[inline(always)]
    pub(super) fn roll(&self, cell: Option<&Cell>, now: i64) -> Rolled {
        // A current cell contains its window: the division would cost more than everything else.
        if let Some(cell) = cell
            && (0..self.window).contains(&(now - cell.numbers.a))
        {
            return self.rolled(cell.numbers, now, false);
        }
        let start = now - now % self.window;
        let Some(Cell { numbers: Numbers { a, b, c }, .. }) = cell.copied() else {
            return self.rolled(Numbers { a: start, b: 0, c: 0 }, now, false);
        };
        match a - start {
            behind if behind == -self.window => self.rolled(Numbers { a: start, b: c, c: 0 }, now, false),
            behind if behind < 0 => self.rolled(Numbers { a: start, b: 0, c: 0 }, now, false),
            ahead if ahead == self.window => self.rolled(Numbers { a, b, c }, a, false),
            _ => self.rolled(Numbers { a: start, b, c }, now, true),
        }
    }

    #[inline(always)]
    fn rolled(&self, numbers: Numbers, at: i64, moved: bool) -> Rolled {
        Rolled { numbers, at, end: numbers.a + self.window, moved }
    }

    #[inline(always)]
    pub(super) fn used(&self, rolled: &Rolled) -> i64 {
        let Numbers { a, b, c } = rolled.numbers;
        if b == 0 {
            return c;
        }
        let left = ceil_div(a + self.window - rolled.at, self.tick);
        ceil_div(b * left, self.ticks) + c
    }

    #[inline(always)]
    pub(super) fn consume(&self, numbers: &mut Numbers, cost: i64) -> i64 {
        add_to(&mut numbers.c, cost, MAX_COUNT)
    }

    pub(super) fn give_back(&self, numbers: &mut Numbers, amount: i64, moment: i64) -> bool {
        let count = if moment >= numbers.a {
            &mut numbers.c
        } else if moment >= numbers.a - self.window {
            &mut numbers.b
        } else {
            return false;
        };
        take_from(count, amount)
    }

    pub(super) fn fits_at(&self, rolled: &Rolled, cost: i64) -> i64 {
        let Numbers { a, b, c } = rolled.numbers;
        let most = self.limit - cost;
        if most < 0 {
            return i64::MAX;
        }
        // Use only falls with time, so the answer is the first window in which enough of the earlier one has left.
        if c <= most {
            self.slid_out(a + self.window, b, most - c)
        } else {
            self.slid_out(a + 2 * self.window, c, most)
        }
    }

    /// The first moment before `end` at which at most `most` of the previous window's `count` still counts.
    fn slid_out(&self, end: i64, count: i64, most: i64) -> i64 {
        let ticks = if count == 0 { self.ticks } else { (most * self.ticks / count).min(self.ticks) };
        end - (ticks * self.tick).min(self.window)
    }
}

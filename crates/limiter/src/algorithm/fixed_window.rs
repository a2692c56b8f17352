//! Fixed window: a counter that restarts with every period, of a fixed length or of the calendar. Cell: `a` start of
//! the period (µs), `b` its count, `c` unused; its `until` is the period's end.
use super::{Cell, Numbers, Rolled, add_to, take_from};
use crate::time::Timestamp;
use crate::window::Window;

/// Counts stop here: above every legal limit, and still exact in a Lua double with any cost added.
const MAX_COUNT: i64 = 1 << 52;

/// At most `limit` in each period of `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FixedWindow {
    pub(crate) limit: i64,
    pub(crate) window: Window,
}

impl FixedWindow {
    pub(crate) fn new(limit: i64, window: Window) -> Self {
        Self { limit, window }
    }

    #[inline(always)]
    pub(super) fn roll(&self, cell: Option<&Cell>, now: i64) -> Rolled {
        // A current cell contains its period, so the calendar is asked only when a period ends.
        if let Some(cell) = cell
            && (cell.numbers.a..cell.until).contains(&now)
        {
            return Rolled { numbers: cell.numbers, at: now, end: cell.until, moved: false };
        }
        let (start, end) = self.period(now);
        match cell {
            Some(cell) if cell.numbers.a == end => {
                Rolled { numbers: cell.numbers, at: end, end: self.period(end).1, moved: false }
            }
            Some(cell) if cell.numbers.a > start => {
                Rolled { numbers: Numbers { a: start, ..cell.numbers }, at: now, end, moved: true }
            }
            _ => Rolled { numbers: Numbers { a: start, b: 0, c: 0 }, at: now, end, moved: false },
        }
    }

    #[inline(always)]
    pub(super) fn raise(&self, numbers: &mut Numbers, used: i64) -> bool {
        let raised = used > numbers.b;
        if raised {
            numbers.b = used.min(MAX_COUNT);
        }
        raised
    }

    #[inline(always)]
    pub(super) fn consume(&self, numbers: &mut Numbers, cost: i64) -> i64 {
        add_to(&mut numbers.b, cost, MAX_COUNT)
    }

    pub(super) fn give_back(&self, numbers: &mut Numbers, amount: i64, moment: i64) -> bool {
        moment >= numbers.a && take_from(&mut numbers.b, amount)
    }

    pub(super) fn fits_at(&self, rolled: &Rolled, cost: i64) -> i64 {
        match self.limit - cost {
            most if most < 0 => i64::MAX,
            most if rolled.numbers.b <= most => rolled.at,
            _ => rolled.end,
        }
    }

    #[inline(never)]
    fn period(&self, now: i64) -> (i64, i64) {
        let period = self.window.period(Timestamp::from_micros(now));
        (period.start.as_micros(), period.end.as_micros())
    }
}

//! Sliding log: remembers every unit with the moment at which it was consumed, so that no window, wherever it begins,
//! holds more than the limit. It has no cell, only the log.
use std::collections::VecDeque;

/// Largest limit. No more units are remembered per moment either, because that many use up any limit.
pub(crate) const MAX_UNITS: i64 = 1_000;
/// Most moments remembered. Only costs that are consumed whatever the limit says can exceed it; then the two
/// oldest moments leave together.
const MAX_MOMENTS: usize = 1_000;

/// At most `limit` in any `window` µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlidingLog {
    pub(crate) limit: i64,
    pub(crate) window: i64,
}

/// Units consumed at one moment: µs since the epoch, and the units in the lowest ten bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// The units consumed of one limit, oldest first. Some of them may have left the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// The limit's id, as in a cell.
    pub(crate) id: u64,
    /// µs at which the last unit leaves; from then on the log has no effect.
    pub(crate) until: i64,
    /// Units of all moments.
    units: i64,
    moments: VecDeque<Moment>,
}

/// A change of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogDeed {
    /// Moves the log, with its units, because the clock stepped back too far.
    Move,
    Consume(i64),
    /// Takes back units that were consumed at a moment, if they still count.
    GiveBack(i64, i64),
}

impl Moment {
    pub(crate) fn new(at: i64, units: i64) -> Self {
        Self(at.unsigned_abs() << 10 | units.clamp(0, MAX_UNITS).unsigned_abs())
    }

    /// The same units this many µs earlier, but not before the epoch.
    fn back(self, by: i64) -> Self {
        Self::new((self.at() - by).max(0), self.units())
    }

    /// The form in snapshots and in Redis.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn at(self) -> i64 {
        (self.0 >> 10).cast_signed()
    }

    pub(crate) fn units(self) -> i64 {
        (self.0 & 0x3ff).cast_signed()
    }
}

impl Log {
    /// A log as a store kept it.
    pub(crate) fn new(id: u64, until: i64, moments: impl IntoIterator<Item = Moment>) -> Self {
        let moments: VecDeque<Moment> = moments.into_iter().collect();
        Self { id, until, units: moments.iter().map(|moment| moment.units()).sum(), moments }
    }

    /// A log with only its newest moment and its total of units: the shared store returns
    /// no more while units are left.
    #[cfg(feature = "redis")]
    pub(crate) fn with_units(self, units: i64) -> Self {
        Self { units, ..self }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// Oldest first.
    pub(crate) fn moments(&self) -> impl ExactSizeIterator<Item = Moment> {
        self.moments.iter().copied()
    }

    fn newest(&self) -> i64 {
        self.moments.back().map_or(0, |moment| moment.at())
    }
}

impl SlidingLog {
    /// How far to move the log back because the clock stepped back by more than a window; else 0.
    pub(crate) fn behind(&self, log: &Log, now: i64) -> i64 {
        let ahead = log.newest() - now;
        if ahead > self.window { ahead } else { 0 }
    }

    /// The moment up to which everything has left. Time never goes back for a log.
    fn left_until(&self, log: &Log, now: i64) -> i64 {
        log.newest().max(now) - self.window
    }

    pub(crate) fn used(&self, log: &Log, now: i64) -> i64 {
        let left_until = self.left_until(log, now);
        log.units - log.moments().take_while(|moment| moment.at() <= left_until).map(Moment::units).sum::<i64>()
    }

    /// The earliest moment at which `price` fits if nothing else is consumed; `i64::MAX` for never.
    pub(crate) fn fits_at(&self, log: &Log, now: i64, price: i64) -> i64 {
        let mut units = log.units;
        match self.limit - price {
            most if most < 0 => i64::MAX,
            most if self.used(log, now) <= most => now,
            most => {
                let enough = log.moments().find(|moment| {
                    units -= moment.units();
                    units <= most
                });
                enough.map_or(now, |moment| moment.back(self.behind(log, now)).at() + self.window)
            }
        }
    }

    /// When the last unit leaves.
    pub(crate) fn empty_at(&self, log: &Log, now: i64) -> i64 {
        (log.newest() + self.window - self.behind(log, now)).max(now)
    }

    pub(crate) fn act(&self, log: &mut Log, deed: LogDeed, now: i64) {
        let (behind, left_until) = (self.behind(log, now), self.left_until(log, now));
        if matches!(deed, LogDeed::GiveBack(_, moment) if behind == 0 && moment <= left_until) {
            return;
        }
        while let Some(moment) = log.moments.pop_front_if(|moment| moment.at() <= left_until) {
            log.units -= moment.units();
        }
        if behind > 0 {
            log.moments.iter_mut().for_each(|moment| *moment = moment.back(behind));
        }
        match deed {
            LogDeed::Move => {}
            LogDeed::Consume(price) => log.add(Moment::new(log.newest().max(now), price)),
            // Units that have left the window cannot be taken back.
            LogDeed::GiveBack(amount, moment) if moment > self.left_until(log, now) => {
                log.take(amount.min(MAX_UNITS), moment);
            }
            LogDeed::GiveBack(..) => {}
        }
        log.until = log.newest() + self.window;
    }
}

impl Log {
    /// Adds units at the newest moment or after it.
    fn add(&mut self, added: Moment) {
        match self.moments.back_mut().filter(|newest| newest.at() == added.at()) {
            Some(newest) => {
                self.units -= newest.units();
                *newest = Moment::new(added.at(), newest.units() + added.units());
                self.units += newest.units();
            }
            None => {
                self.units += added.units();
                self.moments.push_back(added);
            }
        }
        if self.moments.len() > MAX_MOMENTS
            && let (Some(oldest), Some(next)) = (self.moments.pop_front(), self.moments.front_mut())
        {
            self.units -= oldest.units() + next.units();
            *next = Moment::new(next.at(), oldest.units() + next.units());
            self.units += next.units();
        }
    }

    /// Takes away units of this moment or, if the clock stepped back then, of the next one; then
    /// earlier ones, then later ones.
    fn take(&mut self, mut amount: i64, moment: i64) {
        let first =
            self.moments.partition_point(|logged| logged.at() < moment).min(self.moments.len().saturating_sub(1));
        for at in (0..=first).rev().chain(first + 1..self.moments.len()) {
            if let Some(logged) = self.moments.get_mut(at) {
                let taken = amount.min(logged.units());
                *logged = Moment::new(logged.at(), logged.units() - taken);
                amount -= taken;
                self.units -= taken;
            }
        }
        self.moments.retain(|logged| logged.units() > 0);
    }
}

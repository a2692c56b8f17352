//! Civil periods of a time zone: minute, hour, day, week, month or year, from an anchor day.
#[cfg(feature = "redis")]
use std::cell::RefCell;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::{error::InvalidQuota, period::Period, time::Timestamp};

const SECOND: i64 = 1_000_000;
/// A zone skips a day at most, so the first moment after a skipped midnight is searched in quarters of an
/// hour, the finest step of any zone.
const QUARTERS_OF_A_DAY: i64 = 96;
/// Calendars whose current period a thread remembers. Plans use only a few.
#[cfg(feature = "redis")]
const REMEMBERED: usize = 8;

#[cfg(feature = "redis")]
thread_local! {
    /// Finding a period takes some microseconds, and a period lasts at least a minute.
    static LATEST: RefCell<Vec<(Calendar, Period, Timestamp)>> = const { RefCell::new(Vec::new()) };
}

/// The unit of a calendar window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// From local midnight to the next, 23 to 25 hours.
    Day,
    /// From Monday, or another day.
    Week,
    /// From the 1st, or another day.
    Month,
    /// From 1 January, or another day.
    Year,
}

impl CalendarUnit {
    /// The usual length of such a period in seconds: a month has 30 days, a year 365.
    pub(crate) fn usual_seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }
}

/// A recurring civil period. Days begin at local midnight, or at the first moment after it when the zone skips it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Calendar {
    unit: CalendarUnit,
    zone: Tz,
    anchor_day: u8,
    anchor_month: u8,
}

impl Calendar {
    /// Periods of `unit` in `zone`: weeks from Monday, months from the 1st, years from 1 January.
    pub const fn new(unit: CalendarUnit, zone: Tz) -> Self {
        Self { unit, zone, anchor_day: 1, anchor_month: 1 }
    }

    /// Weeks begin on `day` (1 Monday ..= 7 Sunday); months and years on day `day` (1..=31; the last day of a shorter month).
    pub fn anchored_on_day(self, day: u8) -> Result<Self, InvalidQuota> {
        let last = match self.unit {
            CalendarUnit::Week => 7,
            CalendarUnit::Month | CalendarUnit::Year => 31,
            CalendarUnit::Minute | CalendarUnit::Hour | CalendarUnit::Day => 1,
        };
        if !(1..=last).contains(&day) {
            return Err(InvalidQuota::AnchorDay { day, last });
        }
        Ok(Self { anchor_day: day, ..self })
    }

    /// Years begin in `month` (1..=12).
    pub fn anchored_in_month(self, month: u8) -> Result<Self, InvalidQuota> {
        let last = if self.unit == CalendarUnit::Year { 12 } else { 1 };
        if !(1..=last).contains(&month) {
            return Err(InvalidQuota::AnchorMonth { month, last });
        }
        Ok(Self { anchor_month: month, ..self })
    }

    /// The unit that recurs.
    pub fn unit(&self) -> CalendarUnit {
        self.unit
    }

    /// The zone whose clocks count.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The day on which weeks, months and years begin.
    pub fn anchor_day(&self) -> u8 {
        self.anchor_day
    }

    /// The month in which years begin.
    pub fn anchor_month(&self) -> u8 {
        self.anchor_month
    }

    /// The period that `now` is in.
    pub fn period(&self, now: Timestamp) -> Period {
        let now = now.clamped();
        match self.unit {
            CalendarUnit::Minute => self.within(now, 60 * SECOND),
            CalendarUnit::Hour => self.within(now, 3_600 * SECOND),
            _ => {
                let first = self.first_day(self.local(now).date());
                let (start, end) = (self.midnight(first), self.midnight(self.next_day(first)));
                // When the clocks skip or repeat midnight, `now` can be on the other side of it than its date.
                if now < start {
                    let before = self.first_day(first.pred_opt().unwrap_or(first));
                    Period { start: at(self.midnight(before)), end: at(start) }
                } else if now >= end {
                    let after = self.next_day(self.next_day(first));
                    Period { start: at(end), end: at(self.midnight(after)) }
                } else {
                    Period { start: at(start), end: at(end) }
                }
            }
        }
    }

    /// The period that `now` is in, and the end of the next one. Remembered per thread.
    #[cfg(feature = "redis")]
    pub(crate) fn current_and_next(&self, now: Timestamp) -> (Period, Timestamp) {
        LATEST.with_borrow_mut(|latest| {
            let known = latest.iter().position(|(calendar, ..)| calendar == self);
            if let Some((_, period, next)) = known.and_then(|known| latest.get(known))
                && (period.start..period.end).contains(&now)
            {
                return (*period, *next);
            }
            let period = self.period(now);
            let next = self.period(period.end).end;
            if let Some(known) = known {
                latest.swap_remove(known);
            }
            latest.truncate(REMEMBERED - 1);
            latest.push((*self, period, next));
            (period, next)
        })
    }

    /// The period of `length` µs that follows the zone's local clock. A change of clocks by a part of that length ends
    /// one period early and begins the next.
    fn within(&self, now: i64, length: i64) -> Period {
        let phase = |moment| self.offset(moment).rem_euclid(length);
        let start = now - (now + self.offset(now)).rem_euclid(length);
        let changed = |moment| phase(moment) != phase(now);
        let start = if changed(start) { self.change(start, now, phase) } else { start };
        let end = start + length - (start + self.offset(now)).rem_euclid(length);
        let end = if changed(end - 1) { self.change(now, end - 1, phase) } else { end };
        Period { start: at(start), end: at(end) }
    }

    /// The first moment after `before` at which `phase` is as at `after`.
    fn change(&self, mut before: i64, mut after: i64, phase: impl Fn(i64) -> i64) -> i64 {
        let last = phase(after);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if phase(middle) == last { after = middle } else { before = middle }
        }
        after
    }

    /// Local time minus UTC, µs.
    fn offset(&self, moment: i64) -> i64 {
        let utc = DateTime::from_timestamp_micros(moment).unwrap_or_default().naive_utc();
        i64::from(self.zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * SECOND
    }

    fn local(&self, moment: i64) -> NaiveDateTime {
        DateTime::from_timestamp_micros(moment + self.offset(moment)).unwrap_or_default().naive_utc()
    }

    /// The first day of the period that `day` is in.
    fn first_day(&self, day: NaiveDate) -> NaiveDate {
        match self.unit {
            CalendarUnit::Week => {
                let since = (day.weekday().number_from_monday() + 7 - u32::from(self.anchor_day)) % 7;
                day.checked_sub_days(Days::new(u64::from(since))).unwrap_or(day)
            }
            CalendarUnit::Month => {
                let this = self.anchored(day.year(), day.month());
                if this <= day { this } else { self.anchored_before(this, 1) }
            }
            CalendarUnit::Year => {
                let this = self.anchored(day.year(), u32::from(self.anchor_month));
                if this <= day { this } else { self.anchored_before(this, 12) }
            }
            CalendarUnit::Minute | CalendarUnit::Hour | CalendarUnit::Day => day,
        }
    }

    /// The first day of the period after the one that begins on `first`.
    fn next_day(&self, first: NaiveDate) -> NaiveDate {
        let months = match self.unit {
            CalendarUnit::Week => return first.checked_add_days(Days::new(7)).unwrap_or(first),
            CalendarUnit::Month => 1,
            CalendarUnit::Year => 12,
            _ => return first.succ_opt().unwrap_or(first),
        };
        let month = first.with_day(1).and_then(|day| day.checked_add_months(Months::new(months))).unwrap_or(first);
        self.anchored(month.year(), month.month())
    }

    fn anchored_before(&self, day: NaiveDate, months: u32) -> NaiveDate {
        let month = day.with_day(1).and_then(|day| day.checked_sub_months(Months::new(months))).unwrap_or(day);
        self.anchored(month.year(), month.month())
    }

    /// The anchor day in that month, or the month's last day where it is shorter.
    fn anchored(&self, year: i32, month: u32) -> NaiveDate {
        let found = (28..=u32::from(self.anchor_day)).rev().find_map(|day| NaiveDate::from_ymd_opt(year, month, day));
        found.or_else(|| NaiveDate::from_ymd_opt(year, month, u32::from(self.anchor_day).min(28))).unwrap_or_default()
    }

    /// The first moment of `day` in the zone, µs since the epoch.
    fn midnight(&self, day: NaiveDate) -> i64 {
        let local = NaiveDateTime::new(day, NaiveTime::MIN);
        (0..=QUARTERS_OF_A_DAY)
            .find_map(|quarter| {
                let candidate = local.checked_add_signed(chrono::TimeDelta::minutes(15 * quarter))?;
                self.zone.from_local_datetime(&candidate).earliest()
            })
            .map_or_else(|| local.and_utc().timestamp_micros(), |moment| moment.timestamp_micros())
    }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

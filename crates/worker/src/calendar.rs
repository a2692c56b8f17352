//! The ticks of a schedule, in UTC, and the one that is due. Ticks follow from the clock alone, so every
//! worker computes the same ones.

use chrono::{DateTime, Datelike, Days, DurationRound, Months, NaiveDate, NaiveTime, TimeDelta, Utc};

/// The ticks of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// Whenever the time since the Unix epoch is a multiple of this, which is above zero.
    Every(TimeDelta),
    /// Each day at this time.
    Daily(NaiveTime),
    /// The first day of each month at this time.
    Monthly(NaiveTime),
}

impl Calendar {
    /// The tick to push at `now`, when `last` was the last one pushed.
    ///
    /// Without `last`, and for `Every` and `Daily`, it is the latest tick; earlier ones are dropped. For
    /// `Monthly` it is the tick of the month after `last`, so no month is left out, and none comes twice
    /// when the time of day changes.
    pub(crate) fn due(self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let latest = self.latest(now)?;
        match (self, last) {
            (_, None) => Some(latest),
            (Self::Monthly(at), Some(last)) => {
                let following = first_of_month(last).and_time(at).and_utc().checked_add_months(Months::new(1))?;
                (following <= latest).then_some(following)
            }
            (Self::Every(_) | Self::Daily(_), Some(last)) => (last < latest).then_some(latest),
        }
    }

    /// The last tick at or before `now`.
    fn latest(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(interval) => now.duration_trunc(interval).ok(),
            Self::Daily(at) => {
                let today = now.date_naive().and_time(at).and_utc();
                if today <= now { Some(today) } else { today.checked_sub_days(Days::new(1)) }
            }
            Self::Monthly(at) => {
                let this_month = first_of_month(now).and_time(at).and_utc();
                if this_month <= now { Some(this_month) } else { this_month.checked_sub_months(Months::new(1)) }
            }
        }
    }
}

fn first_of_month(moment: DateTime<Utc>) -> NaiveDate {
    let day = moment.date_naive();
    // Every month has a first day.
    day.with_day(1).unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: NaiveTime = NaiveTime::MIN;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// Every tick pushed at `now`, in order.
    fn pushed(calendar: Calendar, last: Option<&str>, now: &str) -> Vec<String> {
        let mut last = last.map(at);
        let next = || {
            last = Some(calendar.due(last, at(now))?);
            last
        };
        std::iter::from_fn(next).map(|tick| tick.format("%Y-%m-%dT%H:%M:%SZ").to_string()).collect()
    }

    #[test]
    fn a_schedule_that_never_ran_begins_with_its_latest_tick() {
        let two = NaiveTime::from_hms_opt(2, 0, 0).unwrap();
        for (calendar, now, tick) in [
            (Calendar::Every(TimeDelta::seconds(5)), "2031-05-15T10:20:34.9Z", "2031-05-15T10:20:30Z"),
            (Calendar::Daily(MIDNIGHT), "2031-05-15T23:59:59Z", "2031-05-15T00:00:00Z"),
            (Calendar::Daily(two), "2031-05-15T01:59:59.999999Z", "2031-05-14T02:00:00Z"),
            (Calendar::Daily(two), "2031-03-01T00:00:00Z", "2031-02-28T02:00:00Z"),
            (Calendar::Daily(two), "2031-05-15T02:00:00Z", "2031-05-15T02:00:00Z"),
            (Calendar::Monthly(MIDNIGHT), "2031-05-31T23:59:59Z", "2031-05-01T00:00:00Z"),
            (Calendar::Monthly(two), "2031-01-01T01:59:59Z", "2030-12-01T02:00:00Z"),
            (Calendar::Monthly(two), "2031-01-01T02:00:00Z", "2031-01-01T02:00:00Z"),
        ] {
            assert_eq!(pushed(calendar, None, now), [tick], "{calendar:?} at {now}");
        }
    }

    #[test]
    fn of_seconds_and_days_that_were_missed_the_latest_is_caught_up_once() {
        let now = "2031-05-15T10:20:34Z";
        let seconds = Calendar::Every(TimeDelta::seconds(5));
        assert_eq!(pushed(seconds, Some("2031-05-14T00:00:00Z"), now), ["2031-05-15T10:20:30Z"]);
        let days = Calendar::Daily(MIDNIGHT);
        assert_eq!(pushed(days, Some("2030-01-01T00:00:00Z"), now), ["2031-05-15T00:00:00Z"]);
        assert_eq!(pushed(days, Some("2031-05-15T00:00:00Z"), now), [""; 0]);
    }

    #[test]
    fn months_that_were_missed_are_caught_up_each_and_in_order() {
        let months = Calendar::Monthly(MIDNIGHT);
        assert_eq!(
            pushed(months, Some("2031-11-01T00:00:00Z"), "2032-03-31T00:00:00Z"),
            ["2031-12-01T00:00:00Z", "2032-01-01T00:00:00Z", "2032-02-01T00:00:00Z", "2032-03-01T00:00:00Z"]
        );
        assert_eq!(pushed(months, Some("2032-03-01T00:00:00Z"), "2032-03-31T23:59:59Z"), [""; 0]);
        assert_eq!(pushed(months, Some("2032-03-01T00:00:00Z"), "2032-04-01T00:00:00Z"), ["2032-04-01T00:00:00Z"]);
    }

    #[test]
    fn a_month_comes_once_also_when_its_time_of_day_is_changed() {
        let six = NaiveTime::from_hms_opt(6, 0, 0).unwrap();
        let later = Calendar::Monthly(six);
        assert_eq!(pushed(later, Some("2031-05-01T00:00:00Z"), "2031-05-20T00:00:00Z"), [""; 0]);
        assert_eq!(pushed(later, Some("2031-05-01T00:00:00Z"), "2031-06-01T05:59:59Z"), [""; 0]);
        let earlier = Calendar::Monthly(MIDNIGHT);
        assert_eq!(pushed(earlier, Some("2031-05-01T06:00:00Z"), "2031-06-01T00:00:00Z"), ["2031-06-01T00:00:00Z"]);
    }

    #[test]
    fn a_clock_that_was_set_back_pushes_nothing_before_it_has_caught_up() {
        for calendar in [Calendar::Every(TimeDelta::seconds(5)), Calendar::Daily(MIDNIGHT), Calendar::Monthly(MIDNIGHT)]
        {
            assert_eq!(pushed(calendar, Some("2031-05-01T00:00:00Z"), "2031-04-30T23:59:59Z"), [""; 0]);
        }
    }
}

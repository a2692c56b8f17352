//! Periods of the calendar: they follow one another without a gap, begin where a clock on the wall says so, and keep to
//! their anchor. And subjects: no two names share one, and partitions fill evenly.
use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Datelike, TimeZone, Timelike, Utc};
use proptest::prelude::*;
use tollgate_limiter::{Calendar, CalendarUnit, HashKey, InvalidQuota, Quota, Subject, Timestamp, Tz, Window};

const UNITS: [CalendarUnit; 6] = [
    CalendarUnit::Minute,
    CalendarUnit::Hour,
    CalendarUnit::Day,
    CalendarUnit::Week,
    CalendarUnit::Month,
    CalendarUnit::Year,
];

/// Zones with half hours, changes at midnight, a skipped day, changes of half an hour, and none at all.
const ZONES: [Tz; 10] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::America__St_Johns,
    Tz::Asia__Kathmandu,
    Tz::Asia__Beirut,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Apia,
    Tz::Africa__Casablanca,
];

fn utc(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<DateTime<Utc>>().unwrap().timestamp_micros())
}

fn local(zone: Tz, moment: Timestamp) -> DateTime<Tz> {
    zone.timestamp_micros(moment.as_micros()).unwrap()
}

fn calendar() -> impl Strategy<Value = Calendar> {
    let units = prop::sample::select(UNITS.to_vec());
    let zones = prop::sample::select(ZONES.to_vec());
    (units, zones, 1_u8..=31, 1_u8..=12).prop_map(|(unit, zone, day, month)| {
        let calendar = Calendar::new(unit, zone);
        let calendar = calendar.anchored_on_day(day).unwrap_or(calendar);
        calendar.anchored_in_month(month).unwrap_or(calendar)
    })
}

/// The moment between two at which the zone's clocks change, or the later one when they agree.
fn change_between(zone: Tz, mut before: i64, mut after: i64) -> i64 {
    let offset = |micros| local(zone, Timestamp::from_micros(micros)).offset().to_string();
    if offset(before) == offset(after) {
        return after;
    }
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if offset(middle) == offset(before) { before = middle } else { after = middle }
    }
    after
}

/// Any moment, or one near a change of clocks.
fn moment(zone: Tz) -> impl Strategy<Value = i64> {
    const HALF_YEAR: i64 = 183 * 86_400_000_000;
    let any = 0_i64..4_102_444_800_000_000;
    let near = (any.clone(), -10_800_000_000_i64..10_800_000_000)
        .prop_map(move |(from, off)| (change_between(zone, from, from + HALF_YEAR) + off).max(0));
    prop_oneof![any, near]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn periods_follow_one_another_without_a_gap(
        (calendar, now) in calendar().prop_flat_map(|calendar| (Just(calendar), moment(calendar.zone()))),
    ) {
        let (window, now) = (Window::Calendar(calendar), Timestamp::from_micros(now));
        let period = window.period(now);
        prop_assert!(period.start <= now && now < period.end);
        prop_assert_eq!(window.period(period.start), period);
        prop_assert_eq!(window.period(Timestamp::from_micros(period.end.as_micros() - 1)), period);
        prop_assert_eq!(window.period(period.end).start, period.end);
    }

    #[test]
    fn a_day_begins_at_midnight_or_at_the_first_moment_after_it(
        (zone, now) in prop::sample::select(ZONES.to_vec()).prop_flat_map(|zone| (Just(zone), moment(zone))),
    ) {
        let period = Window::Calendar(Calendar::new(CalendarUnit::Day, zone)).period(Timestamp::from_micros(now));
        let first = local(zone, period.start);
        let before = local(zone, Timestamp::from_micros(period.start.as_micros() - 1));
        prop_assert!(before.date_naive() < first.date_naive(), "{} then {}", before, first);
        prop_assert!(first.num_seconds_from_midnight() <= 3_600, "{}", first);
    }
}

#[test]
fn an_anchor_beyond_a_short_month_is_its_last_day() {
    let month = Calendar::new(CalendarUnit::Month, Tz::UTC).anchored_on_day(31).unwrap();
    let ends = |text| Window::Calendar(month).period(utc(text)).end;
    assert_eq!(ends("2026-01-31T00:00:00Z"), utc("2026-02-28T00:00:00Z"));
    assert_eq!(ends("2026-02-28T00:00:00Z"), utc("2026-03-31T00:00:00Z"));
    assert_eq!(ends("2024-01-31T12:00:00Z"), utc("2024-02-29T00:00:00Z"));
}

#[test]
fn a_year_may_begin_in_any_month() {
    let fiscal = Calendar::new(CalendarUnit::Year, Tz::America__New_York).anchored_in_month(10).unwrap();
    let period = Window::Calendar(fiscal).period(utc("2026-03-01T00:00:00Z"));
    assert_eq!((period.start, period.end), (utc("2025-10-01T04:00:00Z"), utc("2026-10-01T04:00:00Z")));
    let leap = Calendar::new(CalendarUnit::Year, Tz::UTC).anchored_in_month(2).unwrap().anchored_on_day(29).unwrap();
    assert_eq!(Window::Calendar(leap).period(utc("2026-06-01T00:00:00Z")).start, utc("2026-02-28T00:00:00Z"));
}

#[test]
fn a_week_begins_on_its_anchor() {
    let week = Calendar::new(CalendarUnit::Week, Tz::UTC).anchored_on_day(4).unwrap();
    let start = Window::Calendar(week).period(utc("2026-11-24T10:00:00Z")).start;
    assert_eq!(local(Tz::UTC, start).weekday(), chrono::Weekday::Thu);
}

#[test]
fn a_day_of_a_change_of_clocks_has_23_or_25_hours() {
    let day = Window::Calendar(Calendar::new(CalendarUnit::Day, Tz::Europe__Berlin));
    for (noon, hours) in [("2026-03-29T12:00:00Z", 23), ("2026-10-25T12:00:00Z", 25), ("2026-07-01T12:00:00Z", 24)] {
        let period = day.period(utc(noon));
        assert_eq!(period.end.since(period.start), Duration::from_secs(hours * 3_600));
    }
}

#[test]
fn what_is_illegal_cannot_be_built_and_says_what_is_allowed() {
    let hour = Window::Every(Duration::from_secs(3_600));
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    let errors: [(Result<Quota, InvalidQuota>, &str); 8] = [
        (Quota::sliding_window(0, hour), "1 to 1000000000"),
        (Quota::sliding_window(1_000_000_001, hour), "1 to 1000000000"),
        (Quota::fixed_window(1_000_000_000_000_001, hour), "1 to 1000000000000000"),
        (Quota::sliding_window(1, month), "calendar periods are for fixed windows"),
        (Quota::fixed_window(1, Window::Every(Duration::from_nanos(1_500_000_001))), "whole microseconds"),
        (Quota::sliding_window(1, Window::Every(Duration::from_secs(3_661 * 86_400))), "1 ms to 3660 days"),
        (Quota::token_bucket(1, Duration::from_secs(86_400), 4_000), "more than 3660 days"),
        (Quota::concurrency(1, Duration::from_secs(86_401)), "1 ms to 1 day"),
    ];
    for (outcome, allowed) in errors {
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(allowed), "{message}");
    }
    assert!(Calendar::new(CalendarUnit::Week, Tz::UTC).anchored_on_day(8).is_err());
    assert!(Calendar::new(CalendarUnit::Day, Tz::UTC).anchored_on_day(2).is_err());
    assert!(Calendar::new(CalendarUnit::Month, Tz::UTC).anchored_in_month(2).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_names_never_are_one_subject(
        left in prop::collection::vec(prop::collection::vec(0_u8..3, 0..4), 0..4),
        right in prop::collection::vec(prop::collection::vec(0_u8..3, 0..4), 0..4),
    ) {
        let key = HashKey::new([9; 16]);
        let subject = |parts: &[Vec<u8>]| Subject::new(&key, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(left == right, subject(&left) == subject(&right));
    }
}

#[test]
fn partitions_fill_evenly_and_another_key_moves_everybody() {
    let mut counts = [0_u32; 256];
    let mut seen = HashSet::new();
    let mut moved = 0;
    for name in 0..100_000_u32 {
        let [ours, theirs] = [[1; 16], [2; 16]].map(|key| Subject::new(&HashKey::new(key), &[&name.to_le_bytes()[..]]));
        assert!(seen.insert(ours));
        counts[usize::from(ours.partition())] += 1;
        moved += u32::from(ours.partition() != theirs.partition());
    }
    // 390 each; ten standard deviations are 200.
    assert!(counts.iter().all(|count| (190..590).contains(count)), "{counts:?}");
    assert!(moved > 99_000);
}

#[test]
fn a_hash_key_is_not_shown() {
    assert_eq!(format!("{:?}", HashKey::new([7; 16])), "HashKey(..)");
}

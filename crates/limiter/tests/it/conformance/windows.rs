//! Windows, logs and buckets, as time goes by and as limits change.
use std::time::Duration;

use tollgate_limiter::{
    Calendar, CalendarUnit, Check, Error, Floor, Limit, Mode, Quota, Raise, Retry, Timestamp, Tz, Window,
};

use crate::harness::{NEW_YEAR, Store, bucket, fixed, log, seconds, sliding, subject};

pub(super) async fn a_fixed_window_starts_anew(store: &Store) {
    let limits = [fixed("minute", 3, seconds(60))];
    store.advance(seconds(59));
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
    assert_eq!(store.check(subject("a"), &limits, 1).await.retry_after(), Some(seconds(1)));
    store.advance(seconds(1));
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
}

pub(super) async fn a_sliding_window_forgets_evenly(store: &Store) {
    let limits = [sliding("minute", 60, seconds(60))];
    assert_eq!(store.admitted(subject("a"), &limits, 60).await, 60);
    store.advance(seconds(60));
    let refused = store.check(subject("a"), &limits, 30).await;
    assert_eq!(refused.limits[0].used(), 60);
    let wait = refused.retry_after().unwrap();
    assert!(wait >= seconds(30) && wait < seconds(30) + Duration::from_millis(1), "{wait:?}");
    store.advance(seconds(45));
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 15);
    store.advance(seconds(75));
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 0);
}

pub(super) async fn a_log_lets_units_go_exactly_one_window_after_they_came(store: &Store) {
    let limits = [log("minute", 10, seconds(60))];
    for (units, used) in [(3, 3), (2, 5), (5, 10)] {
        assert_eq!(store.check(subject("a"), &limits, units).await.limits[0].used(), used);
        store.advance(seconds(7));
    }
    // 21 s after the first three, 14 after two, 7 after five.
    for (cost, wait) in [(1, 39), (3, 39), (4, 46), (5, 46), (6, 53), (10, 53)] {
        let refused = store.check(subject("a"), &limits, cost).await;
        assert_eq!(refused.retry_after(), Some(seconds(wait)), "{cost}");
        assert_eq!(refused.limits[0].reset_after(), seconds(39), "one unit");
    }
    store.advance(seconds(39));
    let look = store.check(subject("a"), &limits, 0).await;
    assert_eq!((look.limits[0].used(), look.limits[0].reset_after()), (7, seconds(14)), "then the last ones leave");
    store.advance(seconds(14));
    let look = store.check(subject("a"), &limits, 0).await;
    assert_eq!((look.limits[0].used(), look.limits[0].reset_after()), (0, Duration::ZERO));
}

pub(super) async fn a_log_never_holds_up_longer_than_its_window(store: &Store) {
    let limits = [log("one in four seconds", 1, seconds(4))];
    store.advance(Duration::from_micros(3_999_999));
    for _ in 0..5 {
        assert!(store.check(subject("a"), &limits, 1).await.allowed);
        assert_eq!(store.check(subject("a"), &limits, 1).await.retry_after(), Some(seconds(4)));
        store.advance(Duration::from_micros(3_999_999));
        assert!(!store.check(subject("a"), &limits, 1).await.allowed);
        store.advance(Duration::from_micros(1));
    }
}

pub(super) async fn a_log_of_the_largest_size_admits_all_of_it(store: &Store) {
    let limits = [log("hour", 1_000, seconds(3600)), log("day", 1_000, seconds(86_400)).with_weight(2)];
    for units in 0..500 {
        store.advance(seconds(1));
        let decision = store.check(subject("a"), &limits, 1).await;
        assert_eq!((decision.limits[0].used(), decision.limits[1].used()), (units + 1, 2 * (units + 1)));
    }
    let hour = std::slice::from_ref(&limits[0]);
    for _ in 0..500 {
        store.advance(seconds(1));
        assert!(store.check(subject("a"), hour, 1).await.allowed);
    }
    let refused = store.check(subject("a"), hour, 1).await;
    assert_eq!((refused.limits[0].used(), refused.retry_after()), (1_000, Some(seconds(3_600 - 999))));
    assert_eq!(store.check(subject("a"), hour, 1_000).await.retry_after(), Some(seconds(3_600)));
}

pub(super) async fn a_log_that_only_counts_stays_bounded(store: &Store) {
    let limits = [log("minute", 1_000, seconds(60)).with_mode(Mode::Count)];
    for units in 1..=1_100 {
        assert_eq!(store.check(subject("a"), &limits, 1).await.limits[0].used(), units);
        store.advance(Duration::from_millis(1));
    }
    // The oldest 101 are remembered as one moment, that of the youngest of them.
    store.advance(Duration::from_micros(60_000_000 - 1_100_000 + 99_000));
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 1_100);
    store.advance(Duration::from_millis(1));
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 999);
    let much = store.check(subject("a"), &limits, 50_000).await;
    assert_eq!(much.limits[0].used(), 1_999, "of one moment no more than any limit has is remembered");
    let enforced = [log("minute", 1_000, seconds(60))];
    assert_eq!(store.check(subject("a"), &enforced, 1).await.retry_after(), Some(seconds(60)));
}

pub(super) async fn a_raised_limit_helps_at_once(store: &Store) {
    for make in [sliding, log, fixed] {
        let subject = subject(&format!("{make:p}"));
        assert_eq!(store.admitted(subject, &[make("hour", 3, seconds(3600))], 5).await, 3);
        assert_eq!(store.admitted(subject, &[make("hour", 5, seconds(3600))], 5).await, 2);
    }
}

pub(super) async fn a_lowered_limit_counts_what_was_used(store: &Store) {
    for make in [sliding, log, fixed] {
        let subject = subject(&format!("{make:p}"));
        assert_eq!(store.admitted(subject, &[make("hour", 5, seconds(3600))], 4).await, 4);
        let refused = store.check(subject, &[make("hour", 3, seconds(3600))], 1).await;
        assert!(!refused.allowed);
        assert_eq!((refused.limits[0].used(), refused.limits[0].remaining()), (4, 0));
    }
}

pub(super) async fn a_changed_window_starts_anew(store: &Store) {
    assert_eq!(store.admitted(subject("a"), &[sliding("main", 3, seconds(3600))], 5).await, 3);
    assert_eq!(store.admitted(subject("a"), &[sliding("main", 3, seconds(60))], 5).await, 3);
    assert_eq!(store.admitted(subject("a"), &[fixed("main", 3, seconds(60))], 5).await, 3);
    assert_eq!(store.admitted(subject("a"), &[sliding("main", 3, seconds(3600))], 5).await, 0);
}

pub(super) async fn a_limit_that_only_counts_never_refuses(store: &Store) {
    let quota = fixed("quota", 3, seconds(3600)).with_mode(Mode::Count);
    let limits = [fixed("second", 100, seconds(1)), quota];
    assert_eq!(store.admitted(subject("a"), &limits, 10).await, 10);
    let status = store.check(subject("a"), &limits, 0).await.limits[1];
    assert_eq!((status.used(), status.remaining()), (10, 0));
}

pub(super) async fn a_floor_raises_the_counter_of_its_period(store: &Store) {
    let limits = [sliding("hour", 1000, seconds(3600)), fixed("quota", 100, seconds(3600))];
    let floor = Floor { limit_index: 1, period_start: Timestamp::from_micros(NEW_YEAR), used: 98 };
    assert_eq!(store.check_with(subject("a"), &limits, &[floor]).await.limits[1].used(), 99);
    assert_eq!(store.check_with(subject("a"), &limits, &[floor]).await.limits[1].used(), 100);
    let refused = store.check_with(subject("a"), &limits, &[Floor { used: 150, ..floor }]).await;
    assert!(!refused.allowed);
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[1].used(), 150);
}

pub(super) async fn a_floor_of_another_period_does_nothing(store: &Store) {
    let limits = [fixed("quota", 100, seconds(3600))];
    let past = Floor {
        limit_index: 0,
        period_start: Timestamp::from_micros(NEW_YEAR).saturating_sub(seconds(3600)),
        used: 98,
    };
    assert_eq!(store.check_with(subject("a"), &limits, &[past]).await.limits[0].used(), 1);
}

pub(super) async fn a_raise_never_lowers(store: &Store) {
    let limit = fixed("quota", 100, seconds(3600));
    let raise = |used| Raise {
        subject: subject("a"),
        limits: std::slice::from_ref(&limit),
        limit_index: 0,
        period_start: Timestamp::from_micros(NEW_YEAR),
        used,
    };
    store.limiter.raise(&[raise(40), raise(50)], store.now()).await.unwrap();
    store.limiter.raise(&[raise(20)], store.now()).await.unwrap();
    assert_eq!(store.check(subject("a"), std::slice::from_ref(&limit), 1).await.limits[0].used(), 51);
}

pub(super) async fn a_reset_gives_everything_back(store: &Store) {
    let limits =
        [fixed("hour", 3, seconds(3600)), sliding("day", 3, seconds(86_400)), log("week", 3, seconds(604_800))];
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
    store.limiter.reset(subject("a")).await.unwrap();
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
}

pub(super) async fn subjects_do_not_share_counters(store: &Store) {
    let limits = [fixed("hour", 3, seconds(3600))];
    for name in ["a", "b", "", "a\0", "{a}", "a:b"] {
        assert_eq!(store.admitted(subject(name), &limits, 5).await, 3);
    }
}

pub(super) async fn a_calendar_month_ends_when_the_month_does(store: &Store) {
    for zone in [Tz::UTC, Tz::America__New_York] {
        let month = Window::Calendar(Calendar::new(CalendarUnit::Month, zone));
        let limits = [Limit::new("quota", Quota::fixed_window(3, month).unwrap())];
        let subject = subject(zone.name());
        for period in 0..14 {
            let end = month.period(store.now()).end;
            assert_eq!(store.admitted(subject, &limits, 4).await, 3, "month {period} in {zone}");
            let refused = store.check(subject, &limits, 1).await;
            assert_eq!(refused.retry, Some(Retry::At(end)));
            assert_eq!(refused.limits[0].resets_at(), end);
            store.set(end.saturating_sub(Duration::from_micros(1)));
            assert!(!store.check(subject, &limits, 1).await.allowed);
            store.set(end);
        }
    }
}

pub(super) async fn a_clock_that_steps_back_gives_nothing_away(store: &Store) {
    for make in [sliding, log, fixed] {
        store.set(Timestamp::from_micros(NEW_YEAR));
        let subject = subject(&format!("{make:p}"));
        let limits = [make("minute", 3, seconds(60))];
        assert_eq!(store.admitted(subject, &limits, 5).await, 3);
        store.set(Timestamp::from_micros(NEW_YEAR).saturating_sub(seconds(1)));
        assert_eq!(store.admitted(subject, &limits, 5).await, 0);
        store.set(Timestamp::from_micros(NEW_YEAR).saturating_add(seconds(1)));
        assert_eq!(store.admitted(subject, &limits, 5).await, 0);
    }
}

pub(super) async fn a_clock_that_was_a_day_ahead_does_not_block(store: &Store) {
    for make in [sliding, log, fixed] {
        let subject = subject(&format!("{make:p}"));
        let limits = [make("minute", 3, seconds(60))];
        store.set(Timestamp::from_micros(NEW_YEAR).saturating_add(seconds(86_400)));
        assert_eq!(store.admitted(subject, &limits, 5).await, 3);
        store.set(Timestamp::from_micros(NEW_YEAR));
        let refused = store.check(subject, &limits, 1).await;
        assert!(!refused.allowed, "what was used still counts");
        let Some(Retry::At(moment)) = refused.retry else { panic!("{refused:?}") };
        assert!(moment <= store.now().saturating_add(seconds(120)));
        store.set(moment.saturating_sub(Duration::from_micros(1)));
        assert!(!store.check(subject, &limits, 1).await.allowed);
        store.set(moment);
        assert!(store.check(subject, &limits, 1).await.allowed);
    }
}

pub(super) async fn an_impossible_check_is_refused_with_its_reason(store: &Store) {
    let twice = [fixed("hour", 3, seconds(3600)), fixed("hour", 9, seconds(3600))];
    let error = store.limiter.check(Check::new(subject("a"), &twice), store.now()).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidCheck(_)), "{error}");
    assert!(error.to_string().contains("\"hour\" stands twice"), "{error}");
}

pub(super) async fn many_limits_that_come_and_go_are_forgotten(store: &Store) {
    for round in 0..200 {
        let (cell, log) = (format!("limit {round}"), log(&format!("log {round}"), 3, seconds(1)));
        let limits = [fixed(&cell, 3, seconds(1)), sliding("hour", 1_000, seconds(3600)), log];
        let decision = store.check(subject("a"), &limits, 2).await;
        assert_eq!((decision.limits[0].used(), decision.limits[1].used()), (2, 2 * (round + 1)));
        assert_eq!(decision.limits[2].used(), 2);
        store.advance(seconds(1));
    }
}

pub(super) async fn a_bucket_lets_through_what_it_holds_and_what_flows_in(store: &Store) {
    let limits = [bucket("steady", 10, seconds(1), 20)];
    assert_eq!(store.admitted(subject("a"), &limits, 30).await, 20);
    let refused = store.check(subject("a"), &limits, 1).await;
    assert_eq!(refused.retry_after(), Some(Duration::from_millis(100)));
    assert_eq!(refused.limits[0].reset_after(), Duration::from_millis(100), "while it is empty, the next token counts");
    assert_eq!((refused.limits[0].limit(), refused.limits[0].used()), (20, 20));
    store.advance(Duration::from_millis(550));
    assert_eq!(store.admitted(subject("a"), &limits, 4).await, 4);
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].reset_after(), Duration::from_micros(1_850_000));
    assert_eq!(store.admitted(subject("a"), &limits, 30).await, 1);
    store.advance(seconds(100));
    assert_eq!(store.admitted(subject("a"), &limits, 30).await, 20);
}

pub(super) async fn a_bucket_of_another_size_keeps_what_was_taken(store: &Store) {
    let hour = seconds(3600);
    assert_eq!(store.admitted(subject("a"), &[bucket("main", 100, hour, 10)], 8).await, 8);
    let raised = [bucket("main", 777, hour, 20)];
    assert_eq!(store.check(subject("a"), &raised, 0).await.limits[0].used(), 8);
    assert_eq!(store.admitted(subject("a"), &raised, 20).await, 12);
    let lowered = store.check(subject("a"), &[bucket("main", 100, hour, 5)], 1).await;
    assert_eq!((lowered.allowed, lowered.limits[0].used(), lowered.limits[0].remaining()), (false, 5, 0));
}

pub(super) async fn a_refund_gives_back_what_still_counts(store: &Store) {
    let hour = seconds(3600);
    let limits = [sliding("a", 100, hour), fixed("b", 100, hour), bucket("c", 100, hour, 100), log("d", 100, hour)];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    let consumed = store.decide(check).await;
    store.advance(seconds(36));
    store.limiter.refund(check.with_cost(20), consumed.at, store.now()).await.unwrap();
    let used: Vec<u64> =
        store.check(subject("a"), &limits, 0).await.limits.iter().map(|status| status.used()).collect();
    assert_eq!(used, [40, 40, 39, 40], "one token flowed in meanwhile");
    store.limiter.refund(check, consumed.at, store.now()).await.unwrap();
    let used: Vec<u64> =
        store.check(subject("a"), &limits, 0).await.limits.iter().map(|status| status.used()).collect();
    assert_eq!(used, [0, 0, 0, 0], "a counter does not go below zero");
}

pub(super) async fn a_refund_of_a_past_window_gives_nothing(store: &Store) {
    let minute = seconds(60);
    let limits = [sliding("a", 100, minute), fixed("b", 100, minute), log("c", 100, minute)];
    let check = Check::new(subject("a"), &limits).with_cost(10);
    let first = store.decide(check).await;
    store.advance(minute);
    store.decide(check).await;
    store.limiter.refund(check, first.at, store.now()).await.unwrap();
    let look = store.check(subject("a"), &limits, 0).await;
    assert_eq!((look.limits[0].used(), look.limits[1].used()), (10, 10), "the sliding window still counted the first");
    assert_eq!(look.limits[2].used(), 10, "the second is another's");
}

pub(super) async fn a_weight_multiplies_the_cost(store: &Store) {
    let limits = [fixed("calls", 100, seconds(60)), fixed("tokens", 100, seconds(60)).with_weight(30)];
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
    let refused = store.check(subject("a"), &limits, 1).await;
    assert_eq!((refused.limits[0].used(), refused.limits[1].used()), (3, 90));
    let never = store.check(subject("a"), &limits, 4).await;
    assert_eq!(never.retry, Some(Retry::Never));
}

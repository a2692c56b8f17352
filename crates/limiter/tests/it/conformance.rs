//! One suite of stories, run on every store.
use std::time::Duration;

use tollgate_limiter::{
    Calendar, CalendarUnit, Check, Error, Floor, Limit, Mode, Part, Quota, Raise, ReservationId, Retry, Timestamp, Tz,
    Window,
};

use crate::harness::{NEW_YEAR, Store, bucket, concurrency, fixed, log, seconds, sliding, subject};

macro_rules! stories {
    ($($name:ident)*) => {
        mod memory {
            use crate::harness::Store;
            $(#[tokio::test] async fn $name() { super::$name(&Store::memory().await).await })*
        }
        mod redis {
            use crate::harness::Store;
            $(#[tokio::test] async fn $name() { super::$name(&Store::redis().await).await })*
        }
    };
}

stories! {
    a_limit_admits_exactly_as_much_as_it_says
    a_refusal_consumes_nothing
    all_limits_consume_or_none_does
    several_subjects_consume_or_none_does
    cost_zero_looks
    a_peek_answers_as_a_check_would_and_takes_nothing
    a_limit_with_nothing_left_says_when_one_unit_fits
    the_limit_that_holds_up_longest_is_the_most_constrained
    a_cost_above_the_limit_never_fits
    a_cost_above_any_kind_of_limit_never_fits
    a_fixed_window_starts_anew
    a_sliding_window_forgets_evenly
    a_log_lets_units_go_exactly_one_window_after_they_came
    a_log_never_holds_up_longer_than_its_window
    a_log_of_the_largest_size_admits_all_of_it
    a_log_that_only_counts_stays_bounded
    a_raised_limit_helps_at_once
    a_lowered_limit_counts_what_was_used
    a_changed_window_starts_anew
    a_limit_that_only_counts_never_refuses
    a_floor_raises_the_counter_of_its_period
    a_floor_of_another_period_does_nothing
    a_raise_never_lowers
    a_reset_gives_everything_back
    subjects_do_not_share_counters
    a_calendar_month_ends_when_the_month_does
    a_clock_that_steps_back_gives_nothing_away
    a_clock_that_was_a_day_ahead_does_not_block
    an_impossible_check_is_refused_with_its_reason
    many_limits_that_come_and_go_are_forgotten
    a_bucket_lets_through_what_it_holds_and_what_flows_in
    a_bucket_of_another_size_keeps_what_was_taken
    a_decision_that_is_undone_consumed_nothing
    a_refund_gives_back_what_still_counts
    a_refund_of_a_past_window_gives_nothing
    a_weight_multiplies_the_cost
    slots_are_held_until_they_are_released
    a_slot_that_is_not_renewed_frees_itself
    a_slot_taken_again_under_its_name_is_the_same_slot
    a_refused_slot_consumes_nothing_of_the_other_limits
    a_reservation_is_committed_at_its_actual_cost
    a_reservation_that_is_cancelled_consumed_nothing
    a_reservation_that_is_forgotten_frees_itself
    a_late_commit_still_counts
    reservations_say_when_there_will_be_room
    a_subject_holds_a_bounded_number
}

async fn a_limit_admits_exactly_as_much_as_it_says(store: &Store) {
    for limits in
        [[sliding("hour", 10, seconds(3600))], [log("hour", 10, seconds(3600))], [fixed("hour", 10, seconds(3600))]]
    {
        let subject = subject(&format!("{:?}", limits[0].quota().algorithm()));
        for used in 1..=10 {
            let decision = store.check(subject, &limits, 1).await;
            assert!(decision.allowed);
            assert!(!decision.degraded);
            assert_eq!(decision.at, store.now());
            assert_eq!((decision.limits[0].used(), decision.limits[0].remaining()), (used, 10 - used));
            if used < 10 {
                assert_eq!(decision.limits[0].reset_after(), seconds(3600));
            }
        }
        let refused = store.check(subject, &limits, 1).await;
        assert!(!refused.allowed);
        assert_eq!(refused.limits[0].remaining(), 0);
        assert!(refused.retry_after().unwrap() > Duration::ZERO);
    }
}

async fn a_refusal_consumes_nothing(store: &Store) {
    for limits in
        [[sliding("hour", 10, seconds(3600))], [log("hour", 10, seconds(3600))], [fixed("hour", 10, seconds(3600))]]
    {
        let subject = subject(&format!("{:?}", limits[0].quota().algorithm()));
        assert!(store.check(subject, &limits, 7).await.allowed);
        for _ in 0..3 {
            let refused = store.check(subject, &limits, 4).await;
            assert!(!refused.allowed);
            assert_eq!(refused.limits[0].used(), 7);
        }
        assert!(store.check(subject, &limits, 3).await.allowed);
    }
}

async fn all_limits_consume_or_none_does(store: &Store) {
    let limits = [fixed("second", 5, seconds(1)), sliding("hour", 100, seconds(3600))];
    assert_eq!(store.admitted(subject("a"), &limits, 8).await, 5);
    let refused = store.check(subject("a"), &limits, 1).await;
    assert_eq!((refused.limits[0].used(), refused.limits[1].used()), (5, 5));
    assert_eq!((refused.limits[0].is_allowed(), refused.limits[1].is_allowed()), (false, true));
    assert_eq!(refused.most_constrained().unwrap().index(), 0);
    store.advance(seconds(1));
    assert_eq!(store.check(subject("a"), &limits, 1).await.limits[1].used(), 6);
}

async fn several_subjects_consume_or_none_does(store: &Store) {
    let owner = subject("owner");
    let keys = ["one", "two"].map(|name| subject(name).in_partition_of(&owner));
    let (key_limits, owner_limits) = ([fixed("hour", 4, seconds(3600))], [fixed("hour", 6, seconds(3600))]);
    let others = [Part { subject: owner, limits: &owner_limits, floors: &[] }];
    let mut admitted = [0, 0];
    for (key, admitted) in keys.iter().zip(&mut admitted) {
        for _ in 0..5 {
            let decision = store.decide(Check::new(*key, &key_limits).with_others(&others)).await;
            assert_eq!((decision.limits[1].part(), decision.limits[1].index()), (1, 0));
            *admitted += u32::from(decision.allowed);
        }
    }
    assert_eq!(admitted, [4, 2]);
    assert_eq!(store.check(owner, &owner_limits, 0).await.limits[0].used(), 6);
    assert_eq!(store.check(keys[1], &key_limits, 0).await.limits[0].used(), 2);
}

async fn cost_zero_looks(store: &Store) {
    let limits = [sliding("hour", 2, seconds(3600)), fixed("day", 2, seconds(86_400))];
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].remaining(), 2);
    assert!(store.check(subject("a"), &limits, 2).await.allowed);
    for _ in 0..3 {
        let look = store.check(subject("a"), &limits, 0).await;
        assert!(look.allowed && look.retry.is_none());
        assert_eq!((look.limits[0].used(), look.limits[1].used()), (2, 2));
    }
}

async fn a_peek_answers_as_a_check_would_and_takes_nothing(store: &Store) {
    let limits =
        [fixed("hour", 10, seconds(3600)), bucket("steady", 10, seconds(10), 10), sliding("day", 9, seconds(86_400))];
    let check = Check::new(subject("a"), &limits).with_cost(7);
    for _ in 0..3 {
        let peek = store.peek(check).await;
        assert!(peek.allowed && peek.limits.iter().all(|status| status.used() == 0), "{peek:?}");
    }
    store.decide(check).await;
    let peek = store.peek(check).await;
    assert_eq!(peek, store.decide(check).await, "what is refused is refused alike");
    store.advance(seconds(2 * 86_400));
    let floors = [Floor { limit_index: 0, period_start: store.now(), used: 10 }];
    assert!(!store.peek(check.with_floors(&floors)).await.allowed, "a floor counts");
    assert!(store.peek(check).await.allowed, "and is not written");
    let slots = [concurrency("jobs", 1, seconds(60))];
    let job = Check::new(subject("b"), &slots);
    assert!(store.peek(job).await.allowed, "a slot can be asked for without a name");
    assert!(store.decide(job.with_reservation(reservation(1))).await.allowed);
    assert_eq!(store.peek(job).await.retry_after(), Some(seconds(60)));
    assert!(store.peek(job.with_reservation(reservation(1))).await.allowed, "its own slot is no obstacle");
}

async fn a_limit_with_nothing_left_says_when_one_unit_fits(store: &Store) {
    let hour = seconds(3600);
    let kinds =
        [sliding("hour", 10, hour), log("hour", 10, hour), fixed("hour", 10, hour), bucket("hour", 100, hour, 10)];
    for limit in kinds.into_iter().flat_map(|limit| [limit.clone(), limit.with_weight(3)]) {
        let (weight, limits) = (limit.weight(), [limit]);
        let subject = subject(&format!("{:?} {weight}", limits[0].quota().algorithm()));
        let last = 10 / weight;
        let emptied = store.check(subject, &limits, last).await;
        let look = store.check(subject, &limits, 0).await;
        let refused = store.check(subject, &limits, 1).await;
        let moment = emptied.limits[0].resets_at();
        assert_eq!((look.limits[0].resets_at(), refused.limits[0].resets_at()), (moment, moment), "{limits:?}");
        assert_eq!(refused.retry, Some(Retry::At(moment)), "{limits:?}");
        let later = store.check(subject, &limits, 2).await;
        assert_eq!(later.limits[0].resets_at(), moment, "one unit, whatever was asked for");
        assert!(later.retry_after() >= refused.retry_after());
        store.set(moment.saturating_sub(Duration::from_micros(1)));
        assert!(!store.peek(Check::new(subject, &limits)).await.allowed);
        store.set(moment);
        assert!(store.peek(Check::new(subject, &limits)).await.allowed);
    }
}

async fn the_limit_that_holds_up_longest_is_the_most_constrained(store: &Store) {
    let counts = fixed("counts", 1, seconds(60)).with_mode(Mode::Count);
    let limits =
        [counts, fixed("second", 2, seconds(1)), fixed("day", 2, seconds(86_400)), fixed("hour", 2, seconds(3600))];
    let top = |decision: &tollgate_limiter::Decision| decision.most_constrained().map(|status| status.index());
    assert_eq!(top(&store.check(subject("a"), &limits, 1).await), Some(1), "of equals the first");
    assert_eq!(top(&store.check(subject("a"), &limits, 1).await), Some(2), "none is left: the day is the longest");
    assert_eq!(top(&store.check(subject("a"), &limits, 0).await), Some(2));
    assert_eq!(top(&store.check(subject("a"), &limits, 1).await), Some(2));
    assert_eq!(top(&store.peek(Check::new(subject("a"), &limits)).await), Some(2));
    assert_eq!(top(&store.check(subject("a"), &limits[..1], 5).await), None, "what only counts holds nobody up");
}

async fn a_decision_that_is_undone_consumed_nothing(store: &Store) {
    let owner = subject("owner");
    let key = subject("key").in_partition_of(&owner);
    let hour = seconds(3600);
    let limits = [sliding("a", 10, hour), fixed("b", 10, hour), bucket("c", 10, hour, 10).with_weight(2)];
    let shared = [log("d", 10, hour)];
    let others = [Part { subject: owner, limits: &shared, floors: &[] }];
    let floors = [Floor { limit_index: 1, period_start: store.now(), used: 3 }];
    let check = Check::new(key, &limits).with_others(&others).with_floors(&floors).with_cost(2);
    for _ in 0..20 {
        let decision = store.decide(check).await;
        assert!(decision.allowed);
        store.limiter.undo(check, &decision, store.now()).await.unwrap();
        let used: Vec<u64> = store.decide(check.with_cost(0)).await.limits.iter().map(|status| status.used()).collect();
        assert_eq!(used, [0, 3, 0, 0]);
    }
    assert!(store.decide(check).await.allowed);
    let refused = store.decide(check.with_cost(9)).await;
    store.limiter.undo(check.with_cost(9), &refused, store.now()).await.unwrap();
    let used: Vec<u64> = store.decide(check.with_cost(0)).await.limits.iter().map(|status| status.used()).collect();
    assert_eq!(used, [2, 5, 4, 2], "a refusal took nothing that could be given back");
}

async fn a_cost_above_any_kind_of_limit_never_fits(store: &Store) {
    let hour = seconds(3600);
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    for limit in [
        sliding("only", 10, hour),
        log("only", 10, hour),
        fixed("only", 10, hour),
        bucket("only", 1_000, hour, 10),
        concurrency("only", 10, hour),
        Limit::new("only", Quota::fixed_window(10, month).unwrap()),
        fixed("only", 50, hour).with_weight(5),
    ] {
        let limits = [fixed("wide", 10_000_000, hour), limit];
        let check = Check::new(subject(&format!("{:?}", limits[1])), &limits).with_reservation(reservation(1));
        for used in [0, 4] {
            assert!(store.decide(check.with_cost(used)).await.allowed);
            let check = check.with_reservation(reservation(2)).with_cost(1_000_000);
            for never in [store.decide(check).await, store.peek(check).await] {
                assert_eq!((never.allowed, never.retry), (false, Some(Retry::Never)), "{limits:?}");
                assert_eq!((never.retry_after(), never.retry_after_seconds()), (None, None));
                assert_eq!(never.most_constrained().map(|status| status.index()), Some(1));
            }
        }
    }
}

async fn a_cost_above_the_limit_never_fits(store: &Store) {
    let limits = [sliding("hour", 2, seconds(3600)), fixed("day", 10, seconds(86_400))];
    let refused = store.check(subject("a"), &limits, 3).await;
    assert_eq!((refused.retry, refused.retry_after()), (Some(Retry::Never), None));
    assert_eq!(refused.limits[1].retry(), None);
}

async fn a_fixed_window_starts_anew(store: &Store) {
    let limits = [fixed("minute", 3, seconds(60))];
    store.advance(seconds(59));
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
    assert_eq!(store.check(subject("a"), &limits, 1).await.retry_after(), Some(seconds(1)));
    store.advance(seconds(1));
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
}

async fn a_sliding_window_forgets_evenly(store: &Store) {
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

async fn a_log_lets_units_go_exactly_one_window_after_they_came(store: &Store) {
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

async fn a_log_never_holds_up_longer_than_its_window(store: &Store) {
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

async fn a_log_of_the_largest_size_admits_all_of_it(store: &Store) {
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

async fn a_log_that_only_counts_stays_bounded(store: &Store) {
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

async fn a_raised_limit_helps_at_once(store: &Store) {
    for make in [sliding, log, fixed] {
        let subject = subject(&format!("{make:p}"));
        assert_eq!(store.admitted(subject, &[make("hour", 3, seconds(3600))], 5).await, 3);
        assert_eq!(store.admitted(subject, &[make("hour", 5, seconds(3600))], 5).await, 2);
    }
}

async fn a_lowered_limit_counts_what_was_used(store: &Store) {
    for make in [sliding, log, fixed] {
        let subject = subject(&format!("{make:p}"));
        assert_eq!(store.admitted(subject, &[make("hour", 5, seconds(3600))], 4).await, 4);
        let refused = store.check(subject, &[make("hour", 3, seconds(3600))], 1).await;
        assert!(!refused.allowed);
        assert_eq!((refused.limits[0].used(), refused.limits[0].remaining()), (4, 0));
    }
}

async fn a_changed_window_starts_anew(store: &Store) {
    assert_eq!(store.admitted(subject("a"), &[sliding("main", 3, seconds(3600))], 5).await, 3);
    assert_eq!(store.admitted(subject("a"), &[sliding("main", 3, seconds(60))], 5).await, 3);
    assert_eq!(store.admitted(subject("a"), &[fixed("main", 3, seconds(60))], 5).await, 3);
    assert_eq!(store.admitted(subject("a"), &[sliding("main", 3, seconds(3600))], 5).await, 0);
}

async fn a_limit_that_only_counts_never_refuses(store: &Store) {
    let quota = fixed("quota", 3, seconds(3600)).with_mode(Mode::Count);
    let limits = [fixed("second", 100, seconds(1)), quota];
    assert_eq!(store.admitted(subject("a"), &limits, 10).await, 10);
    let status = store.check(subject("a"), &limits, 0).await.limits[1];
    assert_eq!((status.used(), status.remaining()), (10, 0));
}

async fn a_floor_raises_the_counter_of_its_period(store: &Store) {
    let limits = [sliding("hour", 1000, seconds(3600)), fixed("quota", 100, seconds(3600))];
    let floor = Floor { limit_index: 1, period_start: Timestamp::from_micros(NEW_YEAR), used: 98 };
    assert_eq!(store.check_with(subject("a"), &limits, &[floor]).await.limits[1].used(), 99);
    assert_eq!(store.check_with(subject("a"), &limits, &[floor]).await.limits[1].used(), 100);
    let refused = store.check_with(subject("a"), &limits, &[Floor { used: 150, ..floor }]).await;
    assert!(!refused.allowed);
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[1].used(), 150);
}

async fn a_floor_of_another_period_does_nothing(store: &Store) {
    let limits = [fixed("quota", 100, seconds(3600))];
    let past = Floor {
        limit_index: 0,
        period_start: Timestamp::from_micros(NEW_YEAR).saturating_sub(seconds(3600)),
        used: 98,
    };
    assert_eq!(store.check_with(subject("a"), &limits, &[past]).await.limits[0].used(), 1);
}

async fn a_raise_never_lowers(store: &Store) {
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

async fn a_reset_gives_everything_back(store: &Store) {
    let limits =
        [fixed("hour", 3, seconds(3600)), sliding("day", 3, seconds(86_400)), log("week", 3, seconds(604_800))];
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
    store.limiter.reset(subject("a")).await.unwrap();
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
}

async fn subjects_do_not_share_counters(store: &Store) {
    let limits = [fixed("hour", 3, seconds(3600))];
    for name in ["a", "b", "", "a\0", "{a}", "a:b"] {
        assert_eq!(store.admitted(subject(name), &limits, 5).await, 3);
    }
}

async fn a_calendar_month_ends_when_the_month_does(store: &Store) {
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

async fn a_clock_that_steps_back_gives_nothing_away(store: &Store) {
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

async fn a_clock_that_was_a_day_ahead_does_not_block(store: &Store) {
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

async fn an_impossible_check_is_refused_with_its_reason(store: &Store) {
    let twice = [fixed("hour", 3, seconds(3600)), fixed("hour", 9, seconds(3600))];
    let error = store.limiter.check(Check::new(subject("a"), &twice), store.now()).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidCheck(_)), "{error}");
    assert!(error.to_string().contains("\"hour\" stands twice"), "{error}");
}

async fn many_limits_that_come_and_go_are_forgotten(store: &Store) {
    for round in 0..200 {
        let (cell, log) = (format!("limit {round}"), log(&format!("log {round}"), 3, seconds(1)));
        let limits = [fixed(&cell, 3, seconds(1)), sliding("hour", 1_000, seconds(3600)), log];
        let decision = store.check(subject("a"), &limits, 2).await;
        assert_eq!((decision.limits[0].used(), decision.limits[1].used()), (2, 2 * (round + 1)));
        assert_eq!(decision.limits[2].used(), 2);
        store.advance(seconds(1));
    }
}

async fn a_bucket_lets_through_what_it_holds_and_what_flows_in(store: &Store) {
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

async fn a_bucket_of_another_size_keeps_what_was_taken(store: &Store) {
    let hour = seconds(3600);
    assert_eq!(store.admitted(subject("a"), &[bucket("main", 100, hour, 10)], 8).await, 8);
    let raised = [bucket("main", 777, hour, 20)];
    assert_eq!(store.check(subject("a"), &raised, 0).await.limits[0].used(), 8);
    assert_eq!(store.admitted(subject("a"), &raised, 20).await, 12);
    let lowered = store.check(subject("a"), &[bucket("main", 100, hour, 5)], 1).await;
    assert_eq!((lowered.allowed, lowered.limits[0].used(), lowered.limits[0].remaining()), (false, 5, 0));
}

async fn a_refund_gives_back_what_still_counts(store: &Store) {
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

async fn a_refund_of_a_past_window_gives_nothing(store: &Store) {
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

async fn a_weight_multiplies_the_cost(store: &Store) {
    let limits = [fixed("calls", 100, seconds(60)), fixed("tokens", 100, seconds(60)).with_weight(30)];
    assert_eq!(store.admitted(subject("a"), &limits, 5).await, 3);
    let refused = store.check(subject("a"), &limits, 1).await;
    assert_eq!((refused.limits[0].used(), refused.limits[1].used()), (3, 90));
    let never = store.check(subject("a"), &limits, 4).await;
    assert_eq!(never.retry, Some(Retry::Never));
}

fn reservation(name: u32) -> ReservationId {
    ReservationId::new(&name.to_le_bytes())
}

async fn slots_are_held_until_they_are_released(store: &Store) {
    let limits = [concurrency("jobs", 3, seconds(60))];
    let check = Check::new(subject("a"), &limits);
    for name in 1..=3 {
        let taken = store.decide(check.with_reservation(reservation(name))).await;
        assert_eq!((taken.allowed, taken.limits[0].used()), (true, name.into()));
    }
    let refused = store.decide(check.with_reservation(reservation(4))).await;
    assert_eq!((refused.allowed, refused.limits[0].used(), refused.retry_after()), (false, 3, Some(seconds(60))));
    assert!(store.limiter.release(check, reservation(2), store.now()).await.unwrap());
    assert!(!store.limiter.release(check, reservation(2), store.now()).await.unwrap(), "it is over");
    assert!(store.decide(check.with_reservation(reservation(4))).await.allowed);
}

async fn a_slot_that_is_not_renewed_frees_itself(store: &Store) {
    let limits = [concurrency("jobs", 2, seconds(60))];
    let check = Check::new(subject("a"), &limits);
    for name in 1..=2 {
        assert!(store.decide(check.with_reservation(reservation(name))).await.allowed);
    }
    store.advance(seconds(59));
    assert!(store.limiter.renew(check, reservation(1), seconds(1), store.now()).await.unwrap());
    assert_eq!(store.decide(check.with_reservation(reservation(3))).await.retry_after(), Some(seconds(1)));
    store.advance(seconds(1));
    assert!(store.decide(check.with_reservation(reservation(3))).await.allowed);
    assert!(!store.decide(check.with_reservation(reservation(4))).await.allowed);
    assert!(!store.limiter.renew(check, reservation(2), seconds(1), store.now()).await.unwrap(), "it is over");
}

async fn a_slot_taken_again_under_its_name_is_the_same_slot(store: &Store) {
    let limits = [concurrency("jobs", 2, seconds(60))];
    let check = Check::new(subject("a"), &limits);
    for _ in 0..5 {
        let taken = store.decide(check.with_reservation(reservation(1))).await;
        assert_eq!((taken.allowed, taken.limits[0].used()), (true, 1));
    }
}

async fn a_refused_slot_consumes_nothing_of_the_other_limits(store: &Store) {
    let limits = [sliding("hour", 100, seconds(3600)), concurrency("jobs", 1, seconds(60))];
    let check = Check::new(subject("a"), &limits);
    for name in 1..=5 {
        store.decide(check.with_reservation(reservation(name))).await;
    }
    let look = store.check(subject("a"), &limits, 0).await;
    assert_eq!((look.limits[0].used(), look.limits[1].used()), (1, 1));
    store.limiter.release(check, reservation(1), store.now()).await.unwrap();
    let look = store.check(subject("a"), &limits, 0).await;
    assert_eq!((look.limits[0].used(), look.limits[1].used()), (1, 0));
    let nameless = store.limiter.check(check, store.now()).await.unwrap_err();
    assert!(nameless.to_string().contains("held under a name"), "{nameless}");
}

async fn a_reservation_is_committed_at_its_actual_cost(store: &Store) {
    let hour = seconds(3600);
    let limits =
        [sliding("a", 1_000, hour), fixed("b", 1_000, hour), bucket("c", 1_000, hour, 1_000), log("d", 1_000, hour)];
    let check = Check::new(subject("a"), &limits).with_cost(700);
    let reserved = store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap();
    assert_eq!(reserved.limits.iter().map(|status| status.used()).collect::<Vec<_>>(), [700; 4]);
    assert!(!store.check(subject("a"), &limits, 301).await.allowed);
    assert!(store.check(subject("a"), &limits, 100).await.allowed);
    assert!(store.limiter.commit(check.with_cost(250), reservation(1), store.now()).await.unwrap());
    let look = store.check(subject("a"), &limits, 0).await;
    assert_eq!(look.limits.iter().map(|status| status.used()).collect::<Vec<_>>(), [350; 4]);
}

async fn a_reservation_that_is_cancelled_consumed_nothing(store: &Store) {
    let limits = [sliding("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    assert!(store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap().allowed);
    assert!(!store.limiter.reserve(check, reservation(2), seconds(60), store.now()).await.unwrap().allowed);
    assert!(store.limiter.release(check, reservation(1), store.now()).await.unwrap());
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 0);
}

async fn a_reservation_that_is_forgotten_frees_itself(store: &Store) {
    let limits = [fixed("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    assert!(store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap().allowed);
    let refused = store.check(subject("a"), &limits, 50).await;
    assert_eq!((refused.allowed, refused.retry_after()), (false, Some(seconds(60))));
    store.advance(seconds(60));
    assert!(store.check(subject("a"), &limits, 50).await.allowed);
}

async fn a_late_commit_still_counts(store: &Store) {
    let limits = [fixed("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    assert!(store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap().allowed);
    store.advance(seconds(61));
    assert!(store.check(subject("a"), &limits, 90).await.allowed);
    assert!(!store.limiter.commit(check, reservation(1), store.now()).await.unwrap(), "the reservation was over");
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 150, "but it was used");
}

async fn reservations_say_when_there_will_be_room(store: &Store) {
    let limits = [fixed("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits);
    for (name, cost, life) in [(1, 20, 30), (2, 30, 20), (3, 40, 10)] {
        let reserved =
            store.limiter.reserve(check.with_cost(cost), reservation(name), seconds(life), store.now()).await.unwrap();
        assert!(reserved.allowed);
    }
    for (cost, wait) in [(10, None), (50, Some(10)), (80, Some(20)), (100, Some(30))] {
        let refused =
            store.limiter.reserve(check.with_cost(cost), reservation(4), seconds(1), store.now()).await.unwrap();
        assert_eq!(refused.retry_after(), wait.map(seconds), "for {cost}");
    }
}

async fn a_subject_holds_a_bounded_number(store: &Store) {
    let limits = [fixed("hour", 1_000_000, seconds(3600))];
    let check = Check::new(subject("a"), &limits);
    let mut held = 0;
    for name in 0..1_010 {
        let reserved = store.limiter.reserve(check, reservation(name), seconds(60), store.now()).await.unwrap();
        held += u32::from(reserved.allowed);
    }
    assert_eq!(held, 1_000);
    assert!(store.check(subject("a"), &limits, 1).await.allowed, "what is consumed needs no place");
    let again = store.limiter.reserve(check, reservation(7), seconds(60), store.now()).await.unwrap();
    assert!(again.allowed, "it has its place");
}

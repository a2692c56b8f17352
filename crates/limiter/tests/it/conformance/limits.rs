//! What every limit keeps to, whatever its algorithm.
use std::time::Duration;

use tollgate_limiter::{Calendar, CalendarUnit, Check, Floor, Limit, Mode, Part, Quota, Retry, Tz, Window};

use super::reservations::reservation;
use crate::harness::{Store, bucket, concurrency, fixed, log, seconds, sliding, subject};

pub(super) async fn a_limit_admits_exactly_as_much_as_it_says(store: &Store) {
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

pub(super) async fn a_refusal_consumes_nothing(store: &Store) {
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

pub(super) async fn all_limits_consume_or_none_does(store: &Store) {
    let limits = [fixed("second", 5, seconds(1)), sliding("hour", 100, seconds(3600))];
    assert_eq!(store.admitted(subject("a"), &limits, 8).await, 5);
    let refused = store.check(subject("a"), &limits, 1).await;
    assert_eq!((refused.limits[0].used(), refused.limits[1].used()), (5, 5));
    assert_eq!((refused.limits[0].is_allowed(), refused.limits[1].is_allowed()), (false, true));
    assert_eq!(refused.most_constrained().unwrap().index(), 0);
    store.advance(seconds(1));
    assert_eq!(store.check(subject("a"), &limits, 1).await.limits[1].used(), 6);
}

pub(super) async fn several_subjects_consume_or_none_does(store: &Store) {
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

pub(super) async fn cost_zero_looks(store: &Store) {
    let limits = [sliding("hour", 2, seconds(3600)), fixed("day", 2, seconds(86_400))];
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].remaining(), 2);
    assert!(store.check(subject("a"), &limits, 2).await.allowed);
    for _ in 0..3 {
        let look = store.check(subject("a"), &limits, 0).await;
        assert!(look.allowed && look.retry.is_none());
        assert_eq!((look.limits[0].used(), look.limits[1].used()), (2, 2));
    }
}

pub(super) async fn a_peek_answers_as_a_check_would_and_takes_nothing(store: &Store) {
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

pub(super) async fn a_limit_with_nothing_left_says_when_one_unit_fits(store: &Store) {
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

pub(super) async fn the_limit_that_holds_up_longest_is_the_most_constrained(store: &Store) {
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

pub(super) async fn a_decision_that_is_undone_consumed_nothing(store: &Store) {
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

pub(super) async fn a_cost_above_any_kind_of_limit_never_fits(store: &Store) {
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

pub(super) async fn a_cost_above_the_limit_never_fits(store: &Store) {
    let limits = [sliding("hour", 2, seconds(3600)), fixed("day", 10, seconds(86_400))];
    let refused = store.check(subject("a"), &limits, 3).await;
    assert_eq!((refused.retry, refused.retry_after()), (Some(Retry::Never), None));
    assert_eq!(refused.limits[1].retry(), None);
}

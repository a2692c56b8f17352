//! A limit that applies only beyond a quota.
use std::time::Duration;

use tollgate_limiter::{Check, Decision, Error, Floor, InvalidCheck, Limit, Mode, Part, Raise, Source};

use crate::harness::{Store, bucket, fixed, seconds, sliding, subject};

const DAY: Duration = Duration::from_secs(86_400);

/// So many a day, and beyond that two a second.
fn throttled(quota: u64) -> [Limit; 2] {
    [fixed("quota", quota, DAY).with_mode(Mode::Count), fixed("beyond", 2, seconds(1)).with_mode(Mode::Beyond)]
}

fn used(decision: &Decision) -> Vec<u64> {
    decision.limits.iter().map(|status| status.used()).collect()
}

/// Part and index of the limits that refused.
fn refused(decision: &Decision) -> Vec<(usize, usize)> {
    decision.refused().map(|status| (status.part(), status.index())).collect()
}

fn enforced(decision: &Decision) -> bool {
    decision.limits[1].is_enforced()
}

pub(super) async fn within_a_quota_what_applies_beyond_it_costs_nothing(store: &Store) {
    let limits = throttled(10);
    for cost in [4, 3, 2] {
        let decision = store.check(subject("a"), &limits, cost).await;
        assert!(decision.allowed && !enforced(&decision));
        assert_eq!(decision.limits[1].used(), 0);
        assert_eq!(decision.most_constrained(), None);
    }
    let last = store.check(subject("a"), &limits, 1).await;
    assert_eq!((used(&last), enforced(&last)), (vec![10, 0], true), "from now on it applies");
    assert_eq!(last.most_constrained().unwrap().remaining(), 2);
}

pub(super) async fn beyond_a_quota_another_limit_refuses_and_says_until_when(store: &Store) {
    let kinds = [fixed("beyond", 2, seconds(1)), sliding("beyond", 2, seconds(1)), bucket("beyond", 2, seconds(1), 2)];
    for beyond in kinds {
        let [quota, _] = throttled(10);
        let limits = [quota, beyond.with_mode(Mode::Beyond)];
        let subject = subject(&format!("{:?}", limits[1].quota().algorithm()));
        assert_eq!(store.admitted(subject, &limits, 20).await, 12);
        let peek = store.peek(Check::new(subject, &limits)).await;
        let decision = store.check(subject, &limits, 1).await;
        assert_eq!(peek, Decision { source: Source::Exact, ..decision.clone() });
        assert_eq!(used(&decision), [12, 2], "what passed beyond the quota counts in it");
        assert_eq!((refused(&decision), decision.most_constrained().unwrap().index()), (vec![(0, 1)], 1));
        let wait = decision.retry_after().unwrap();
        assert!(wait < seconds(2) && decision.limits[1].reset_after() == wait);
        store.advance(wait - Duration::from_micros(1));
        assert!(!store.check(subject, &limits, 1).await.allowed);
        store.advance(Duration::from_micros(1));
        assert!(store.check(subject, &limits, 1).await.allowed);
    }
}

pub(super) async fn a_cost_that_exceeds_what_is_left_of_a_quota_must_fit_beyond_it(store: &Store) {
    let limits = throttled(10);
    assert!(store.check(subject("a"), &limits, 9).await.allowed);
    let refused = store.check(subject("a"), &limits, 3).await;
    assert_eq!((refused.allowed, used(&refused), enforced(&refused)), (false, vec![9, 0], true), "all of it must fit");
    assert!(!enforced(&store.check(subject("a"), &limits, 0).await), "one more is within the quota");
    let peek = store.peek(Check::new(subject("a"), &limits).with_cost(2)).await;
    assert_eq!((peek.allowed, used(&peek), enforced(&peek)), (true, vec![9, 0], true));
    let crossing = store.check(subject("a"), &limits, 2).await;
    assert_eq!((crossing.allowed, used(&crossing)), (true, vec![11, 2]), "all of it counts");
    assert!(!store.check(subject("a"), &limits, 1).await.allowed);
}

pub(super) async fn beyond_a_quota_all_limits_consume_or_none_does(store: &Store) {
    let [quota, beyond] = throttled(10);
    let limits = [fixed("minute", 14, seconds(60)), quota, beyond];
    let owner = subject("owner");
    let key = subject("key").in_partition_of(&owner);
    let shared = [fixed("hour", 13, seconds(3_600))];
    let others = [Part { subject: owner, limits: &shared, floors: &[] }];
    let check = Check::new(key, &limits).with_others(&others);
    assert!(store.decide(check.with_cost(10)).await.allowed);
    assert!(store.decide(check.with_cost(2)).await.allowed);
    let beyond = store.decide(check).await;
    assert_eq!((refused(&beyond), used(&beyond)), (vec![(0, 2)], vec![12, 12, 2, 12]), "it takes nothing elsewhere");
    store.advance(seconds(1));
    let shared = store.decide(check.with_cost(2)).await;
    assert_eq!((refused(&shared), used(&shared)), (vec![(1, 0)], vec![12, 12, 0, 12]), "nor does another's refusal");
    let alone = Check::new(key, &limits);
    assert!(store.decide(alone).await.allowed);
    let both = store.decide(alone.with_cost(2)).await;
    assert_eq!(refused(&both), [(0, 0), (0, 2)]);
    assert_eq!(both.retry_after(), Some(seconds(59)), "the longer wait counts");
}

pub(super) async fn a_new_period_ends_what_applies_beyond_a_quota(store: &Store) {
    let limits = throttled(10);
    store.advance(DAY - Duration::from_millis(1_500));
    assert_eq!(store.admitted(subject("a"), &limits, 20).await, 12);
    store.advance(seconds(1));
    assert_eq!(store.admitted(subject("a"), &limits, 20).await, 2);
    assert_eq!(store.check(subject("a"), &limits, 1).await.retry_after(), Some(Duration::from_millis(500)));
    store.advance(Duration::from_millis(500));
    let first = store.check(subject("a"), &limits, 9).await;
    assert_eq!((first.allowed, used(&first), enforced(&first)), (true, vec![9, 0], false));
    assert_eq!(store.admitted(subject("a"), &limits, 20).await, 3);
}

pub(super) async fn a_cost_that_never_fits_beyond_a_quota_waits_for_the_next_period(store: &Store) {
    let limits = throttled(10);
    assert!(store.check(subject("a"), &limits, 8).await.allowed);
    store.advance(seconds(400));
    assert_eq!(store.check(subject("a"), &limits, 3).await.retry_after(), Some(DAY - seconds(400)));
    let never = store.check(subject("a"), &limits, 11).await;
    assert!(never.never_fits(), "more than the quota and more than what passes beyond it");
}

pub(super) async fn a_floor_decides_what_is_beyond_a_quota(store: &Store) {
    let limits = throttled(10);
    let floors = [Floor { limit_index: 0, period_start: store.now(), used: 10 }];
    let check = Check::new(subject("a"), &limits).with_floors(&floors);
    assert!(enforced(&store.peek(check).await));
    assert!(!enforced(&store.peek(Check::new(subject("a"), &limits)).await), "a peek does not write it");
    assert_eq!(used(&store.decide(check).await), [11, 1]);
    assert!(store.decide(check).await.allowed);
    assert!(!store.decide(check).await.allowed);
    let raise = Raise { subject: subject("b"), limits: &limits, limit_index: 0, period_start: store.now(), used: 10 };
    store.limiter.raise(&[raise], store.now()).await.unwrap();
    assert_eq!(store.admitted(subject("b"), &limits, 20).await, 2);
}

pub(super) async fn a_raised_quota_ends_what_applies_beyond_it(store: &Store) {
    assert_eq!(store.admitted(subject("a"), &throttled(10), 20).await, 12);
    assert_eq!(store.admitted(subject("a"), &throttled(15), 20).await, 3, "the limit beyond is used up");
    assert_eq!(store.admitted(subject("a"), &throttled(9), 20).await, 0);
}

pub(super) async fn a_decision_beyond_a_quota_is_undone_there_too(store: &Store) {
    let limits = throttled(10);
    let check = Check::new(subject("a"), &limits);
    for (within, beyond, cost) in [(0, 0, 10), (9, 0, 2), (10, 0, 1), (10, 1, 1)] {
        store.limiter.reset(subject("a")).await.unwrap();
        assert!(store.decide(check.with_cost(within)).await.allowed);
        let before = used(&store.decide(check.with_cost(beyond)).await);
        let decision = store.decide(check.with_cost(cost)).await;
        assert!(decision.allowed, "{cost} after {before:?}");
        store.limiter.undo(check.with_cost(cost), &decision, store.now()).await.unwrap();
        assert_eq!(used(&store.decide(check.with_cost(0)).await), before);
    }
}

pub(super) async fn a_limit_beyond_nothing_is_refused(store: &Store) {
    let [quota, beyond] = throttled(10);
    let enforces = quota.clone().with_mode(Mode::Enforce);
    let slides = sliding("quota", 10, DAY).with_mode(Mode::Count);
    let other = fixed("other", 9, seconds(1));
    for limits in [
        vec![beyond.clone()],
        vec![beyond.clone(), quota.clone()],
        vec![enforces, beyond.clone()],
        vec![slides, beyond.clone()],
        vec![quota, other, beyond],
    ] {
        let error = store.limiter.check(Check::new(subject("a"), &limits), store.now()).await.unwrap_err();
        let expected = InvalidCheck::BeyondNothing { name: "beyond".into() };
        assert!(matches!(error, Error::InvalidCheck(reason) if reason == expected));
    }
}

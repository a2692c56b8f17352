//! What is held by name: slots and reservations.
use tollgate_limiter::{Check, ReservationId};

use crate::harness::{Store, bucket, concurrency, fixed, log, seconds, sliding, subject};

pub(super) fn reservation(name: u32) -> ReservationId {
    ReservationId::new(&name.to_le_bytes())
}

pub(super) async fn slots_are_held_until_they_are_released(store: &Store) {
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

pub(super) async fn a_slot_that_is_not_renewed_frees_itself(store: &Store) {
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

pub(super) async fn a_slot_taken_again_under_its_name_is_the_same_slot(store: &Store) {
    let limits = [concurrency("jobs", 2, seconds(60))];
    let check = Check::new(subject("a"), &limits);
    for _ in 0..5 {
        let taken = store.decide(check.with_reservation(reservation(1))).await;
        assert_eq!((taken.allowed, taken.limits[0].used()), (true, 1));
    }
}

pub(super) async fn a_refused_slot_consumes_nothing_of_the_other_limits(store: &Store) {
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

pub(super) async fn a_reservation_is_committed_at_its_actual_cost(store: &Store) {
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

pub(super) async fn a_reservation_that_is_cancelled_consumed_nothing(store: &Store) {
    let limits = [sliding("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    assert!(store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap().allowed);
    assert!(!store.limiter.reserve(check, reservation(2), seconds(60), store.now()).await.unwrap().allowed);
    assert!(store.limiter.release(check, reservation(1), store.now()).await.unwrap());
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 0);
}

pub(super) async fn a_reservation_that_is_forgotten_frees_itself(store: &Store) {
    let limits = [fixed("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    assert!(store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap().allowed);
    let refused = store.check(subject("a"), &limits, 50).await;
    assert_eq!((refused.allowed, refused.retry_after()), (false, Some(seconds(60))));
    store.advance(seconds(60));
    assert!(store.check(subject("a"), &limits, 50).await.allowed);
}

pub(super) async fn a_late_commit_still_counts(store: &Store) {
    let limits = [fixed("hour", 100, seconds(3600))];
    let check = Check::new(subject("a"), &limits).with_cost(60);
    assert!(store.limiter.reserve(check, reservation(1), seconds(60), store.now()).await.unwrap().allowed);
    store.advance(seconds(61));
    assert!(store.check(subject("a"), &limits, 90).await.allowed);
    assert!(!store.limiter.commit(check, reservation(1), store.now()).await.unwrap(), "the reservation was over");
    assert_eq!(store.check(subject("a"), &limits, 0).await.limits[0].used(), 150, "but it was used");
}

pub(super) async fn reservations_say_when_there_will_be_room(store: &Store) {
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

pub(super) async fn a_subject_holds_a_bounded_number(store: &Store) {
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

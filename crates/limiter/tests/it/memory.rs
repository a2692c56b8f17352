//! What only the memory store does: a bound on its size, and a snapshot that outlives the process.
use tollgate_limiter::{Check, Error, Limit, Limiter, Options, Timestamp};

use crate::harness::{NEW_YEAR, Store, fixed, log, seconds, sliding, subject};

fn limits() -> [Limit; 3] {
    [sliding("hour", 1_000, seconds(3600)), fixed("day", 1_000, seconds(86_400)), log("minute", 5, seconds(60))]
}

async fn used(store: &Store) -> Store {
    for name in 0..1_000 {
        assert_eq!(store.admitted(subject(&name.to_string()), &limits(), name % 5).await, name % 5);
    }
    Store::memory().await
}

#[tokio::test]
async fn a_restored_snapshot_goes_on_counting_where_it_was() {
    let store = Store::memory().await;
    let restored = used(&store).await;
    let mut file = Vec::new();
    store.limiter.snapshot(&mut file).unwrap();
    assert_eq!(restored.limiter.restore(&mut file.as_slice(), store.now()).unwrap(), 800);
    for name in 0..1_000 {
        let who = subject(&name.to_string());
        assert_eq!(store.check(who, &limits(), 0).await, restored.check(who, &limits(), 0).await);
    }
}

#[tokio::test]
async fn counters_that_ended_meanwhile_are_not_restored() {
    let store = Store::memory().await;
    let restored = used(&store).await;
    let mut file = Vec::new();
    store.limiter.snapshot(&mut file).unwrap();
    let later = store.now().saturating_add(seconds(86_400));
    assert_eq!(restored.limiter.restore(&mut file.as_slice(), later).unwrap(), 0);
}

#[tokio::test]
async fn a_damaged_snapshot_says_so_and_leaves_an_empty_store() {
    let store = Store::memory().await;
    let restored = used(&store).await;
    let mut whole = Vec::new();
    store.limiter.snapshot(&mut whole).unwrap();
    let torn = (1..whole.len()).step_by(97).map(|length| whole[..length].to_vec());
    let altered = (0..whole.len()).step_by(89).map(|at| {
        let mut file = whole.clone();
        file[at] ^= 0x10;
        file
    });
    for file in torn.chain(altered).chain([Vec::new()]) {
        let error = restored.limiter.restore(&mut file.as_slice(), store.now()).unwrap_err();
        assert!(matches!(error, Error::DamagedSnapshot { .. }), "{error}");
        assert_eq!(restored.limiter.stats().subjects, 0);
    }
    assert_eq!(restored.admitted(subject("a"), &limits(), 3).await, 3);
}

#[tokio::test]
async fn the_number_of_subjects_is_bounded_and_what_had_to_go_is_counted() {
    let options = Options { max_subjects: 10_000, ..Options::default() };
    let limiter = Limiter::connect("memory:", options).await.unwrap();
    let limits = [fixed("hour", 10, seconds(3600))];
    let check =
        async |name: u32, now| limiter.check(Check::new(subject(&name.to_string()), &limits), now).await.unwrap();
    let now = Timestamp::from_micros(NEW_YEAR);
    for name in 0..30_000 {
        assert!(check(name, now).await.allowed);
    }
    let full = limiter.stats();
    assert!(full.subjects <= 10_256, "{full:?}");
    assert_eq!(full.evicted, 30_000 - full.subjects);
    assert_eq!(check(29_999, now).await.limits[0].used(), 2, "the newest is still there");
    for name in 30_000..40_000 {
        check(name, now.saturating_add(seconds(3600))).await;
    }
    assert_eq!(limiter.stats().evicted, full.evicted, "the expired made room");
}

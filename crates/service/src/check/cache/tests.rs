//! The cache without a database.

use tollgate_domain::{Plan, PlanId, period::BillingPeriod};
use tollgate_limiter::HashKey;
use tollgate_repository::KeyAndPlan;
use uuid::Uuid;

use super::*;
use crate::check::effective_limits::LimitsPool;

const BOUNDS: Bounds = Bounds {
    max_keys: SHARDS * 4,
    max_bytes: 64 << 20,
    max_unknown: SHARDS * 4,
    refresh_after: 30,
    stale_after: 600,
    unknown_for: 10,
};

fn lookup(n: u64) -> Lookup {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Lookup::Secret(SecretHash(hash))
}

fn entry(n: u128) -> KnownKey {
    let now = chrono::DateTime::UNIX_EPOCH;
    let tenant_id = TenantId::DEFAULT;
    let plan = Plan::defaults(tenant_id, now, || PlanId(Uuid::nil())).remove(0);
    let key = crate::check::known_key::tests::key(ApiKeyId(Uuid::from_u128(n)), &plan);
    let found = KeyAndPlan { key, plan, secret_expires_at: None, used: 0 };
    KnownKey::new(found, None, &LimitsPool::default(), &HashKey::new([0; 16]), BillingPeriod::containing(now)).unwrap()
}

#[tokio::test]
async fn ten_thousand_callers_of_one_key_look_it_up_once() {
    let cache = Arc::new(KeyCache::new(BOUNDS));
    let loads = Arc::new(AtomicUsize::new(0));
    let (open, gate) = tokio::sync::watch::channel(false);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let (cache, loads, mut gate) = (cache.clone(), loads.clone(), gate.clone());
        callers.spawn(async move {
            cache
                .load(lookup(1), 0, async {
                    loads.fetch_add(1, Ordering::Relaxed);
                    gate.wait_for(|open| *open).await.unwrap();
                    Ok(Some(entry(1)))
                })
                .await
                .unwrap()
                .unwrap()
                .key
                .id
        });
    }
    tokio::task::yield_now().await;
    open.send(true).unwrap();
    while let Some(id) = callers.join_next().await {
        assert_eq!(id.unwrap(), ApiKeyId(Uuid::from_u128(1)));
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    assert!(matches!(cache.get(&lookup(1), 29), Cached::Fresh(_)));
}

#[tokio::test]
async fn what_was_read_before_an_invalidation_is_not_kept() {
    let cache = KeyCache::new(BOUNDS);
    let found = cache
        .load(lookup(1), 0, async {
            cache.forget([]);
            Ok(Some(entry(1)))
        })
        .await;
    assert!(found.unwrap().is_some());
    assert!(matches!(cache.get(&lookup(1), 0), Cached::Miss));
}

#[tokio::test]
async fn a_stale_entry_is_refreshed_by_one_and_served_to_all() {
    let cache = KeyCache::new(BOUNDS);
    cache.load(lookup(1), 0, async { Ok(Some(entry(1))) }).await.unwrap();
    assert!(matches!(cache.get(&lookup(1), 30), Cached::Stale(_)));
    assert!(matches!(cache.get(&lookup(1), 30), Cached::Fresh(_)));
    assert!(cache.load(lookup(1), 30, async { Err(Error::database_down()) }).await.is_err());
    assert!(matches!(cache.get(&lookup(1), 31), Cached::Stale(_)), "the next caller tries again");
    assert!(matches!(cache.get(&lookup(1), 600), Cached::Miss), "too old to be served at all");
    cache.confirm(500);
    assert!(matches!(cache.get(&lookup(1), 1_099), Cached::Fresh(_) | Cached::Stale(_)));
    assert!(matches!(cache.get(&lookup(1), 1_100), Cached::Miss), "the database has been away for too long");
}

#[tokio::test]
async fn guessed_keys_are_bounded_and_push_no_known_key_out() {
    let cache = KeyCache::new(BOUNDS);
    cache.load(lookup(0), 0, async { Ok(Some(entry(1))) }).await.unwrap();
    for n in 1..10_000 {
        assert!(cache.load(lookup(n), 0, async { Ok(None) }).await.unwrap().is_none());
    }
    let unknown: usize = cache.shards.iter().map(|shard| lock(shard).unknown.len()).sum();
    assert!(unknown <= BOUNDS.max_unknown, "{unknown}");
    assert!(matches!(cache.get(&lookup(9_999), 9), Cached::Unknown));
    assert!(matches!(cache.get(&lookup(9_999), 10), Cached::Miss), "remembered for a while only");
    assert!(matches!(cache.get(&lookup(0), 9), Cached::Fresh(_)));
}

#[tokio::test]
async fn known_keys_are_bounded() {
    let cache = KeyCache::new(BOUNDS);
    for n in 0..10_000 {
        cache.load(lookup(n), 0, async { Ok(Some(entry(u128::from(n)))) }).await.unwrap();
    }
    assert_eq!(cache.len(), BOUNDS.max_keys);
}

#[tokio::test]
async fn as_many_keys_as_may_be_held_are_held_however_they_are_spread() {
    let cache = KeyCache::new(BOUNDS);
    let all_in_one_shard = |n: u64| {
        let mut hash = [0; 32];
        hash[1..9].copy_from_slice(&n.to_le_bytes());
        Lookup::Secret(SecretHash(hash))
    };
    for n in 0..BOUNDS.max_keys as u64 {
        cache.load(all_in_one_shard(n), 0, async { Ok(Some(entry(u128::from(n)))) }).await.unwrap();
    }
    let held = (0..BOUNDS.max_keys as u64).all(|n| matches!(cache.get(&all_in_one_shard(n), 0), Cached::Fresh(_)));
    assert!(held);
    // A new key in an empty shard is kept too, and another key makes room for it.
    cache.load(lookup(255), 0, async { Ok(Some(entry(1 << 70))) }).await.unwrap();
    assert!(matches!(cache.get(&lookup(255), 0), Cached::Fresh(_)));
    assert_eq!(cache.len(), BOUNDS.max_keys);
}

#[tokio::test]
async fn bytes_are_bounded_and_given_back() {
    let cache = KeyCache::new(Bounds { max_bytes: 40 << 10, ..BOUNDS });
    for n in 0..1_000 {
        cache.load(lookup(n), 0, async { Ok(Some(entry(u128::from(n)))) }).await.unwrap();
    }
    let held = cache.bytes.load(Ordering::Relaxed);
    assert!((20 << 10..=40 << 10).contains(&held), "{held}");
    cache.forget_all();
    assert_eq!((cache.len(), cache.bytes.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn a_cancelled_look_up_leaves_nothing_behind() {
    let cache = KeyCache::new(BOUNDS);
    let never = cache.load(lookup(1), 0, std::future::pending());
    let timed_out = tokio::time::timeout(std::time::Duration::from_millis(1), never).await;
    assert!(timed_out.is_err());
    assert!(cache.shards.iter().all(|shard| lock(shard).flights.is_empty()));
}

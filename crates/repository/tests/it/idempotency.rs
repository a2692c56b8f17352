//! Idempotency keys: one request runs, its repeats get its answer.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{Idempotency, StoredResponse, TenantId};
use tollgate_repository::Repository;

use crate::harness::{Stack, TENANT};

const ONE: [u8; 32] = [1; 32];
const TWO: [u8; 32] = [2; 32];

/// An unfinished attempt is stale after a minute, every attempt expires after a day.
async fn begin(
    node: &Repository,
    tenant: TenantId,
    key: &str,
    fingerprint: &[u8; 32],
    now: DateTime<Utc>,
) -> Idempotency {
    let (stale, expired) = (now - TimeDelta::minutes(1), now - TimeDelta::days(1));
    node.idempotency().begin(tenant, "token", key, fingerprint, now, stale, expired).await.unwrap()
}

fn response() -> StoredResponse {
    StoredResponse {
        status: 201,
        content_type: Some("application/json".to_owned()),
        headers: vec![("etag".to_owned(), "\"1\"".to_owned())],
        body: b"{\"data\":\"\0\xff\"}".to_vec(),
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_request_none() {
    for stack in Stack::every().await {
        let node = &stack.repository;
        let now = stack.clock.now();
        assert_eq!(begin(node, TENANT, "k", &ONE, now).await, Idempotency::Started);
        assert_eq!(begin(node, TENANT, "k", &ONE, now).await, Idempotency::InProgress);
        assert_eq!(begin(node, TENANT, "k", &TWO, now).await, Idempotency::Mismatch);
        assert_eq!(begin(node, TENANT, "other", &TWO, now).await, Idempotency::Started);
        node.idempotency().finish(TENANT, "token", "k", &response()).await.unwrap();
        assert_eq!(begin(node, TENANT, "k", &ONE, now).await, Idempotency::Replay(response()));
        assert_eq!(begin(node, TENANT, "k", &TWO, now).await, Idempotency::Mismatch);
        node.idempotency().forget(TENANT, "token", "k").await.unwrap();
        let late = StoredResponse { status: 500, ..response() };
        node.idempotency().finish(TENANT, "token", "k", &late).await.unwrap();
        let tomorrow = now + TimeDelta::hours(24);
        assert_eq!(
            begin(node, TENANT, "k", &ONE, tomorrow).await,
            Idempotency::Replay(response()),
            "a finished one stays"
        );
        let later = tomorrow + TimeDelta::microseconds(1);
        assert_eq!(begin(node, TENANT, "k", &TWO, later).await, Idempotency::Started, "an expired one is as if never");
        assert_eq!(begin(node, TENANT, "k", &TWO, later).await, Idempotency::InProgress);
    }
}

#[tokio::test]
async fn a_forgotten_or_stale_attempt_may_be_made_again() {
    for stack in Stack::every().await {
        let node = &stack.repository;
        let now = stack.clock.now();
        assert_eq!(begin(node, TENANT, "k", &ONE, now).await, Idempotency::Started);
        node.idempotency().forget(TENANT, "token", "k").await.unwrap();
        assert_eq!(begin(node, TENANT, "k", &TWO, now).await, Idempotency::Started);
        let minute = now + TimeDelta::minutes(1);
        assert_eq!(begin(node, TENANT, "k", &TWO, minute).await, Idempotency::InProgress);
        let later = minute + TimeDelta::microseconds(1);
        assert_eq!(begin(node, TENANT, "k", &ONE, later).await, Idempotency::Mismatch);
        assert_eq!(begin(node, TENANT, "k", &TWO, later).await, Idempotency::Started);
        assert_eq!(begin(node, TENANT, "k", &TWO, later).await, Idempotency::InProgress, "it is new now");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_repeats_at_once_one_starts() {
    for stack in Stack::every().await {
        let now = stack.clock.now();
        for (round, at) in [("new", now), ("stale", now + TimeDelta::hours(1))] {
            let other = stack.another().await;
            let attempts: Vec<_> = (0..8)
                .map(|n| {
                    let node = if n % 2 == 0 { stack.repository.clone() } else { other.clone() };
                    tokio::spawn(async move { begin(&node, TENANT, "k", &ONE, at).await })
                })
                .collect();
            let mut started = 0;
            for attempt in attempts {
                match attempt.await.unwrap() {
                    Idempotency::Started => started += 1,
                    other => assert_eq!(other, Idempotency::InProgress),
                }
            }
            assert_eq!(started, 1, "{round}");
        }
    }
}

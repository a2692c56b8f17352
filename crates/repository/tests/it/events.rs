//! Usage metered elsewhere: an event counts once, together with its call or not at all.

use tollgate_domain::{ApiKey, ApiKeyId, Granularity, UsageEvent};
use tollgate_repository::Error;

use crate::harness::{Stack, TENANT, allowed, at};

const MAY: &str = "2026-05-01T00:00:00Z";

fn event(key: &ApiKey, id: &str, units: i64) -> UsageEvent {
    let at = at("2026-05-15T10:00:59.999999Z");
    UsageEvent { id: id.to_owned(), api_key_id: key.id, at, units, endpoint: Some("/metered".to_owned()) }
}

#[tokio::test]
async fn an_event_counts_once_in_one_call_or_several_and_says_which() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let (key, _) = stack.key(TENANT, "metered").await;
        let call = [event(&key, "b", 1), event(&key, "a", 2), event(&key, "b", 4)];
        assert_eq!(repository.usage().insert_events(TENANT, &call).await.unwrap(), [true, true, false]);
        let again = [event(&key, "c", 8), event(&key, "a", 16)];
        assert_eq!(repository.usage().insert_events(TENANT, &again).await.unwrap(), [true, false]);
        assert_eq!(repository.usage().insert_events(TENANT, &[]).await.unwrap(), [false; 0]);
        assert_eq!(repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(11));
        let hours = repository
            .usage()
            .series(TENANT, key.id, Granularity::Hourly, at(MAY), at("2026-06-01T00:00:00Z"))
            .await
            .unwrap();
        assert_eq!(hours, [(at("2026-05-15T10:00:00Z"), allowed(11))]);
        let top = repository.usage().top_endpoints(TENANT, key.id, at(MAY), 10).await.unwrap();
        assert_eq!(top, [("/metered".to_owned(), 11)]);
        let stats = repository.usage().stats(TENANT, key.id, stack.clock.now()).await.unwrap();
        assert_eq!(stats.last_used_at, Some(at("2026-05-15T10:00:59.999999Z")));
    }
}

#[tokio::test]
async fn an_event_of_a_key_that_does_not_exist_leaves_the_whole_call_uncounted() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let unknown = ApiKey { id: ApiKeyId(stack.clock.new_id()), ..key.clone() };
        let call = [event(&key, "a", 1), event(&unknown, "b", 1)];
        assert!(matches!(stack.repository.usage().insert_events(TENANT, &call).await, Err(Error::Conflict)));
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(0));
        assert_eq!(stack.repository.usage().insert_events(TENANT, &call[..1]).await.unwrap(), [true]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_the_same_events_in_other_orders_count_each_once() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let events: Vec<_> = (0..40).map(|n| event(&key, &n.to_string(), 1)).collect();
        let other = stack.another().await;
        let calls: Vec<_> = (0..8)
            .map(|n| {
                let mut events = events.clone();
                events.rotate_left(n * 5);
                if n % 2 == 0 {
                    events.reverse();
                }
                let node = if n % 2 == 0 { stack.repository.clone() } else { other.clone() };
                tokio::spawn(async move { node.usage().insert_events(TENANT, &events).await.unwrap() })
            })
            .collect();
        let mut counted = 0;
        for call in calls {
            counted += call.await.unwrap().into_iter().filter(|now| *now).count();
        }
        assert_eq!(counted, 40);
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(40));
    }
}

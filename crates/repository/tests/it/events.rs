//! Usage metered elsewhere: an event counts once, together with its call or not at all.

use tollgate_domain::{ApiKey, ApiKeyId, EventOutcome, EventResult, Granularity, UsageEvent};
use tollgate_repository::Error;

use crate::harness::{Stack, TENANT, allowed, at, batch, fold, now, usage};

const MAY: &str = "2026-05-01T00:00:00Z";

pub(crate) const ACCEPTED: EventOutcome = EventOutcome { result: EventResult::Accepted, period_closed: false };
pub(crate) const DUPLICATE: EventOutcome = EventOutcome { result: EventResult::Duplicate, period_closed: false };
const CONFLICT: EventOutcome = EventOutcome { result: EventResult::Conflict, period_closed: false };

/// Of no source. Its hash is that of its units.
pub(crate) fn event(key: &ApiKey, id: &str, units: u8) -> UsageEvent {
    UsageEvent {
        source: String::new(),
        id: id.to_owned(),
        api_key_id: key.id,
        at: at("2026-05-15T10:00:59.999999Z"),
        units: units.into(),
        endpoint: Some("/metered".to_owned()),
        payload_hash: [units; 32],
    }
}

impl Stack {
    async fn insert(&self, events: &[UsageEvent]) -> Vec<EventOutcome> {
        self.repository.usage().insert_events(TENANT, events, now()).await.unwrap()
    }
}

#[tokio::test]
async fn an_event_counts_once_in_one_call_or_several_and_says_which() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let (key, _) = stack.key(TENANT, "metered").await;
        let call = [event(&key, "b", 1), event(&key, "a", 2), event(&key, "b", 1)];
        assert_eq!(stack.insert(&call).await, [ACCEPTED, ACCEPTED, DUPLICATE]);
        assert_eq!(stack.insert(&[event(&key, "c", 8), event(&key, "a", 2)]).await, [ACCEPTED, DUPLICATE]);
        assert_eq!(stack.insert(&[]).await, []);
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
async fn another_event_under_the_same_name_is_a_conflict_and_under_another_source_it_has_another_name() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let of = |source: &str, event: UsageEvent| UsageEvent { source: source.to_owned(), ..event };
        let call = [event(&key, "a", 1), event(&key, "a", 2), event(&key, "a", 1)];
        assert_eq!(stack.insert(&call).await, [ACCEPTED, CONFLICT, DUPLICATE]);
        // The first here is not the first that was counted.
        let call = [event(&key, "a", 2), event(&key, "a", 1), of("/s", event(&key, "a", 2)), event(&key, "b", 4)];
        assert_eq!(stack.insert(&call).await, [CONFLICT, DUPLICATE, ACCEPTED, ACCEPTED]);
        // Where one name ends and the other begins.
        let call = [of("/s", event(&key, "ab", 8)), of("/sa", event(&key, "b", 16))];
        assert_eq!(stack.insert(&call).await, [ACCEPTED, ACCEPTED]);
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(31));

        let asked = [event(&key, "a", 1), event(&key, "a", 2), event(&key, "c", 1)];
        let repeats = stack.repository.usage().repeated_events(TENANT, &asked, now()).await.unwrap();
        assert_eq!(repeats, [Some(DUPLICATE), None, None]);
        assert_eq!(stack.repository.usage().repeated_events(TENANT, &[], now()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn names_of_the_greatest_length_are_kept() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        // Of four bytes each, and none like another, so that nothing can be compressed.
        let long: String = (0x10000..0x10000 + 255).filter_map(char::from_u32).collect();
        let longest = UsageEvent { source: long.clone(), ..event(&key, &long, 1) };
        let call = [longest];
        assert_eq!(stack.insert(&call).await, [ACCEPTED]);
        assert_eq!(stack.insert(&call).await, [DUPLICATE]);
    }
}

#[tokio::test]
async fn a_call_of_a_thousand_events_is_one_transaction() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let events: Vec<_> = (0..1_000).map(|n| event(&key, &n.to_string(), 1)).collect();
        assert_eq!(stack.insert(&events).await, [ACCEPTED; 1_000]);
        assert_eq!(stack.insert(&events).await, [DUPLICATE; 1_000]);
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(1_000));
    }
}

#[tokio::test]
async fn units_of_events_are_added_up_apart_and_those_of_a_journal_are_not_among_them() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let sum = "select cast(coalesce(sum(event_units), -1) as bigint) from usage_periods";
        let journal = async |from| {
            let rows = vec![usage(&key, "2026-05-15T10:00:00Z", allowed(100))];
            stack.repository.usage().apply(&batch(from, 0, 1, rows, vec![])).await.unwrap();
            fold(&stack.repository).await;
        };
        journal(stack.boot()).await;
        assert_eq!(stack.number(sum).await, -1, "none");
        let call = [event(&key, "a", 1), event(&key, "b", 2), event(&key, "a", 1)];
        stack.insert(&call).await;
        stack.insert(&call).await;
        assert_eq!(stack.number(sum).await, 3);
        journal(stack.boot()).await;
        let april = UsageEvent { at: at("2026-04-30T23:59:59Z"), ..event(&key, "c", 4) };
        stack.insert(&[april, event(&key, "d", 8)]).await;
        assert_eq!(stack.number(sum).await, 15);
        assert_eq!(stack.number("select max(event_units) from usage_periods").await, 11);
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(211));
    }
}

#[tokio::test]
async fn an_event_says_when_its_month_was_closed_before() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let april = |id| UsageEvent { at: at("2026-04-30T23:59:59Z"), ..event(&key, id, 1) };
        let late = |result| EventOutcome { result, period_closed: true };
        stack.sql("update billing_accounts set next_period = '2026-04-01T00:00:00+00:00'").await;
        assert_eq!(stack.insert(&[april("a"), event(&key, "b", 1)]).await, [ACCEPTED, ACCEPTED]);
        stack.sql("update billing_accounts set next_period = '2026-05-01T00:00:00+00:00'").await;
        let call = [april("c"), event(&key, "d", 1), april("a"), UsageEvent { payload_hash: [0; 32], ..april("c") }];
        let outcomes = [late(EventResult::Accepted), ACCEPTED, late(EventResult::Duplicate), CONFLICT];
        assert_eq!(stack.insert(&call).await, outcomes);
        assert_eq!(stack.number("select count(*) from billing_due").await, 1);
        stack.sql("update billing_accounts set next_period = null").await;
        assert_eq!(stack.insert(&[april("e")]).await, [late(EventResult::Accepted)]);
        let repeats = stack.repository.usage().repeated_events(TENANT, &[april("e")], now()).await.unwrap();
        assert_eq!(repeats, [Some(late(EventResult::Duplicate))]);
    }
}

#[tokio::test]
async fn an_event_of_a_key_that_does_not_exist_leaves_the_whole_call_uncounted() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let unknown = ApiKey { id: ApiKeyId(stack.clock.new_id()), ..key.clone() };
        let call = [event(&key, "a", 1), event(&unknown, "b", 1)];
        assert!(matches!(stack.repository.usage().insert_events(TENANT, &call, now()).await, Err(Error::Conflict)));
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(0));
        assert_eq!(stack.insert(&call[..1]).await, [ACCEPTED]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_the_same_events_in_other_orders_count_each_once() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "metered").await;
        let other = stack.another().await;
        let calls: Vec<_> = (0..8_u8)
            .map(|call| {
                // Half of the calls say something else about the same events: whoever comes first counts.
                let units = 1 + call / 4;
                let mut events: Vec<_> = (0..40).map(|n| event(&key, &n.to_string(), units)).collect();
                events.rotate_left(usize::from(call) * 5);
                if call % 2 == 0 {
                    events.reverse();
                }
                let node = if call % 2 == 0 { stack.repository.clone() } else { other.clone() };
                tokio::spawn(async move {
                    let outcomes = node.usage().insert_events(TENANT, &events, now()).await.unwrap();
                    outcomes.into_iter().map(|outcome| (units, outcome)).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.extend(call.await.unwrap());
        }
        let accepted = |units| outcomes.iter().filter(|one| **one == (units, ACCEPTED)).count();
        let (ones, twos) = (accepted(1), accepted(2));
        assert_eq!(ones + twos, 40);
        // Each of the 320 is the one that counted, its like, or unlike it.
        let conflicts = outcomes.iter().filter(|(_, outcome)| *outcome == CONFLICT).count();
        assert_eq!(conflicts, 40 * 4);
        let counted = allowed(i64::try_from(ones + 2 * twos).unwrap());
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), counted);
    }
}

//! Series and retention: what is shown is the same before and after the minutes are gone.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, Environment, Granularity, Idempotency, KeySecret, UsageEvent, usage::Counts};
use tollgate_repository::Retention;

use crate::harness::{FromVersion, Stack, TENANT, allowed, at, batch, endpoint, fold, now, usage};

const FROM: &str = "2026-05-01T00:00:00Z";
const TO: &str = "2026-06-01T00:00:00Z";

async fn series(stack: &Stack, key: &ApiKey, granularity: Granularity) -> Vec<(DateTime<Utc>, Counts)> {
    stack.repository.usage().series(key.tenant_id, key.id, granularity, at(FROM), at(TO)).await.unwrap()
}

fn cutoffs(all: &str) -> Retention {
    let at = at(all);
    Retention { minutes: at, violations: at, idempotency: at, secrets: at, events: at, endpoints: at }
}

async fn apply(stack: &Stack, rows: Vec<tollgate_domain::usage::KeyUsage>) {
    stack.repository.usage().apply(&batch(stack.boot(), 0, 1, rows, vec![])).await.unwrap();
}

#[tokio::test]
async fn series_are_the_same_before_and_after_the_fold_and_without_the_minutes() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "series").await;
        let mixed = Counts { allowed: 1, rate_limited: 2, quota_exceeded: 3, rejected: 4 };
        apply(
            &stack,
            vec![
                usage(&key, "2026-05-13T23:59:00Z", mixed),
                usage(&key, "2026-05-14T00:00:00Z", allowed(5)),
                usage(&key, "2026-05-14T00:59:00Z", allowed(6)),
                usage(&key, "2026-05-14T01:00:00Z", allowed(7)),
                usage(&key, "2026-05-15T10:00:00Z", allowed(8)),
                usage(&key, "2026-06-01T00:00:00Z", allowed(9)),
            ],
        )
        .await;
        let hours = [
            (at("2026-05-13T23:00:00Z"), mixed),
            (at("2026-05-14T00:00:00Z"), allowed(11)),
            (at("2026-05-14T01:00:00Z"), allowed(7)),
            (at("2026-05-15T10:00:00Z"), allowed(8)),
        ];
        let days = [
            (at("2026-05-13T00:00:00Z"), mixed),
            (at("2026-05-14T00:00:00Z"), allowed(18)),
            (at("2026-05-15T00:00:00Z"), allowed(8)),
        ];
        let mut month = mixed;
        month.add(&allowed(26));
        for stage in ["waits", "folded", "without minutes"] {
            match stage {
                "folded" => assert_eq!(fold(&stack.repository).await.len(), 2, "two periods"),
                "without minutes" => {
                    assert_eq!(stack.repository.clean_up(&cutoffs("2026-05-15T07:00:00Z")).await.unwrap(), 4)
                }
                _ => (),
            }
            assert_eq!(series(&stack, &key, Granularity::Hourly).await, hours, "{stage}");
            assert_eq!(series(&stack, &key, Granularity::Daily).await, days, "{stage}");
            assert_eq!(series(&stack, &key, Granularity::Monthly).await, [(at(FROM), month)], "{stage}");
        }
        assert_eq!(stack.number("select count(*) from usage_minutes").await, 2);
    }
}

#[tokio::test]
async fn a_series_holds_the_buckets_that_start_within_it() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "edges").await;
        apply(
            &stack,
            vec![
                usage(&key, "2026-05-14T10:15:00Z", allowed(1)),
                usage(&key, "2026-05-14T11:00:00Z", allowed(2)),
                usage(&key, "2026-05-14T12:00:00Z", allowed(4)),
            ],
        )
        .await;
        for folded in [false, true] {
            if folded {
                fold(&stack.repository).await;
            }
            let (from, to) = (at("2026-05-14T10:30:00Z"), at("2026-05-14T12:00:00Z"));
            let hours = stack.repository.usage().series(TENANT, key.id, Granularity::Hourly, from, to).await.unwrap();
            assert_eq!(hours, [(at("2026-05-14T11:00:00Z"), allowed(2))]);
            let days = stack.repository.usage().series(TENANT, key.id, Granularity::Daily, from, to).await.unwrap();
            assert_eq!(days, []);
        }
    }
}

#[tokio::test]
async fn late_rows_are_added_to_a_day_whose_minutes_are_there_or_gone() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "late").await;
        let mut expected = 0;
        for units in [1, 10, 100, 1_000] {
            apply(&stack, vec![usage(&key, "2026-05-14T00:00:00Z", allowed(units))]).await;
            expected += units;
            let day = [(at("2026-05-14T00:00:00Z"), allowed(expected))];
            for stage in ["waits", "folded", "without minutes"] {
                match stage {
                    "folded" => drop(fold(&stack.repository).await),
                    "without minutes" => {
                        assert_eq!(stack.repository.clean_up(&cutoffs("2026-05-20T00:00:00Z")).await.unwrap(), 1);
                    }
                    _ => {}
                }
                assert_eq!(series(&stack, &key, Granularity::Daily).await, day, "{stage}");
                assert_eq!(series(&stack, &key, Granularity::Hourly).await, day, "{stage}");
            }
        }
        assert_eq!(stack.number("select count(*) from usage_minutes").await, 0);
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(FROM)).await.unwrap(), allowed(1_111));
    }
}

#[tokio::test]
async fn clean_up_takes_what_is_older_than_its_cutoff_and_nothing_else() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let (key, _) = stack.key(TENANT, "old").await;
        let (old, new) = (at("2026-05-10T00:00:00Z"), at("2026-05-12T00:00:00Z"));
        let ends =
            vec![endpoint(&key, "2026-05-10T00:00:00Z", "/a", 1), endpoint(&key, "2026-05-12T00:00:00Z", "/a", 1)];
        repository.usage().apply(&batch(stack.boot(), 0, 1, vec![], ends)).await.unwrap();
        fold(repository).await;
        for (name, began) in [("old", old), ("new", new)] {
            let begun = repository.idempotency().begin(TENANT, "a", name, &[0; 32], began, old, old).await.unwrap();
            assert_eq!(begun, Idempotency::Started);
            let event = UsageEvent { at: began, endpoint: None, ..crate::events::event(&key, name, 1) };
            repository.usage().insert_events(TENANT, &[event], now()).await.unwrap();
        }
        let mut rotated = key;
        for end in [old, new] {
            let secret = KeySecret::generate(Environment::Live).unwrap();
            rotated = repository.rotate_api_key_to(TENANT, &rotated, &secret, end).await.unwrap().unwrap();
        }
        stack.rows_of_violations(&rotated, [old, new]).await;
        let count = async |text| stack.number(text).await;
        assert_eq!(repository.clean_up(&cutoffs("2026-05-11T00:00:00Z")).await.unwrap(), 6, "one of each");
        assert_eq!(count("select count(*) from usage_endpoints").await, 1);
        assert_eq!(count("select count(*) from idempotency_keys").await, 1);
        assert_eq!(count("select count(*) from usage_events").await, 1);
        assert_eq!(count("select count(*) from api_key_secrets").await, 2);
        assert_eq!(count("select count(*) from violations").await, 1);
        assert_eq!(repository.clean_up(&cutoffs("2026-05-11T00:00:00Z")).await.unwrap(), 0);
    }
}

impl Stack {
    async fn rows_of_violations(&self, key: &ApiKey, minutes: [DateTime<Utc>; 2]) {
        let rows = minutes.map(|minute| crate::violations::row(key, minute, "per-hour", "/a", 1)).to_vec();
        self.repository.violations().record(&crate::violations::batch(self.boot(), 0, 1, rows)).await.unwrap();
    }
}

//! Keys: stored whole, found by their secrets, rotated with grace, deleted without a trace but their usage.

use chrono::TimeDelta;
use serde_json::json;
use tollgate_domain::{Environment, KeySecret, KeyStatus, LimitSpec, Suspension};
use tollgate_repository::{Applied, Error, KeyCount};

use crate::harness::{FromVersion, Stack, TENANT, agreed, allowed, at, batch, usage};

#[tokio::test]
async fn a_key_reads_back_as_it_was_stored() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let (mut key, hash) = stack.key_of(TENANT, "pro", "Schlüssel");
        key.description = Some("for \"quotes\", 100 %\nand lines".to_owned());
        key.status = KeyStatus::Suspended;
        key.suspension =
            Some(Suspension { until: Some(at("2026-06-01T00:00:00.000001Z")), reason: Some("late".into()) });
        key.owner_id = Some("12".to_owned());
        key.tags = ["b", "a", "1"].map(str::to_owned).to_vec();
        let metadata = json!({"n": 1.5, "big": u64::MAX, "list": [1, "x", null, {"deep": true}]});
        key.metadata = metadata.as_object().unwrap().clone();
        key.allowed_ips = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::1/128".parse().unwrap()];
        key.allowed_countries = vec!["DE".parse().unwrap()];
        key.expires_at = Some(at("2027-01-01T00:00:00.5Z"));
        key.limits = vec![LimitSpec::sliding("per-hour", 1_000_000_000, 3_600)];
        let stored = stack.repository.keys().insert(TENANT, &key, &hash).await.unwrap();
        assert_eq!(stored, key);
        assert_eq!(stack.repository.keys().get(TENANT, key.id).await.unwrap(), Some(key));
    }
}

#[tokio::test]
async fn times_are_kept_in_whole_microseconds() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let (mut key, hash) = stack.key_of(TENANT, "pro", "precise");
        key.expires_at = Some(at("2026-06-01T00:00:00.123456789Z"));
        let stored = stack.repository.keys().insert(TENANT, &key, &hash).await.unwrap();
        assert_eq!(stored.expires_at, Some(at("2026-06-01T00:00:00.123456Z")));
    }
}

#[tokio::test]
async fn a_network_that_was_stored_as_mapped_is_read_as_what_it_is() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let (key, hash) = stack.key_of(TENANT, "pro", "mapped");
        stack.repository.keys().insert(TENANT, &key, &hash).await.unwrap();
        stack.sql("update api_keys set allowed_ips = '{\"items\": [\"::ffff:192.0.2.0/120\", \"10.0.0.1/32\"]}'").await;
        let read = stack.repository.keys().get(TENANT, key.id).await.unwrap().unwrap();
        assert_eq!(read.allowed_ips, ["192.0.2.0/24", "10.0.0.1"].map(|network| network.parse().unwrap()));
    }
}

#[tokio::test]
async fn a_secret_an_id_or_a_plan_that_does_not_fit_is_a_conflict() {
    for stack in Stack::every().await {
        let (key, hash) = stack.key(TENANT, "first").await;
        let (other, other_hash) = stack.key_of(TENANT, "pro", "second");
        assert!(matches!(stack.repository.keys().insert(TENANT, &other, &hash).await, Err(Error::Conflict)));
        assert!(matches!(stack.repository.keys().insert(TENANT, &key, &other_hash).await, Err(Error::Conflict)));
        assert_eq!(stack.repository.keys().get(TENANT, other.id).await.unwrap(), None, "nothing of it was stored");
        let moved = tollgate_domain::ApiKey { tier: "gold".to_owned(), ..key };
        assert!(matches!(stack.repository.update_api_key(TENANT, &moved).await, Err(Error::Conflict)));
    }
}

#[tokio::test]
async fn of_eight_updates_of_one_version_one_wins() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "contended").await;
        let updates = (0..8).map(|n| {
            let repository = stack.repository.clone();
            let mine =
                tollgate_domain::ApiKey { name: format!("writer {n}"), tags: vec![n.to_string()], ..key.clone() };
            tokio::spawn(async move { repository.update_api_key(TENANT, &mine).await.unwrap() })
        });
        let mut winners = Vec::new();
        for update in updates.collect::<Vec<_>>() {
            winners.extend(update.await.unwrap());
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(winners[0].version, 2);
        assert_eq!(stack.repository.keys().get(TENANT, key.id).await.unwrap().as_ref(), winners.first());
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_secret_with_its_plan_and_the_periods_units() {
    for stack in Stack::every().await {
        let (key, hash) = stack.key(TENANT, "found").await;
        let rows = vec![
            usage(&key, "2026-04-30T23:59:00Z", allowed(5)),
            usage(&key, "2026-05-01T00:00:00Z", allowed(7)),
            usage(&key, "2026-05-15T10:00:00Z", allowed(1)),
        ];
        let applied = stack.repository.usage().apply(&batch(stack.boot(), 0, 10, rows, vec![])).await.unwrap();
        assert_eq!(applied, Applied::Moved);
        let found = stack.repository.keys().by_secret(&hash, stack.clock.now()).await.unwrap().unwrap();
        assert_eq!((found.key.clone(), found.used, found.secret_expires_at), (key.clone(), 8, None));
        assert_eq!(found.plan.name, "pro");
        let by_id = stack.repository.keys().with_plan(TENANT, key.id, stack.clock.now()).await.unwrap().unwrap();
        assert_eq!(by_id, found);
        let next_month = stack.repository.keys().by_secret(&hash, at("2026-06-01T00:00:00Z")).await.unwrap().unwrap();
        assert_eq!(next_month.used, 0);
        let (_, unknown) = stack.key_of(TENANT, "pro", "never stored");
        assert_eq!(stack.repository.keys().by_secret(&unknown, stack.clock.now()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_rotated_secret_works_until_its_grace_ends_and_never_longer_than_promised_before() {
    for stack in Stack::every().await {
        let (mut key, first) = stack.key(TENANT, "rotated").await;
        let now = stack.clock.now();
        let hours = |n| now + TimeDelta::hours(n);
        let mut secrets = vec![first];
        // The second rotation would let the first secret live on to 20 h; it keeps its end at 10 h. The third cuts all to 5 h.
        for grace in [10, 20, 5] {
            let secret = KeySecret::generate(Environment::Live).unwrap();
            key.key_prefix = secret.prefix();
            key = stack.repository.rotate_api_key_to(TENANT, &key, &secret, hours(grace)).await.unwrap().unwrap();
            secrets.push(secret.hash());
            let ends = match grace {
                10 => vec![Some(10), None],
                20 => vec![Some(10), Some(20), None],
                _ => vec![Some(5), Some(5), Some(5), None],
            };
            for (secret, end) in secrets.iter().zip(ends) {
                let found = stack.repository.keys().by_secret(secret, now).await.unwrap().unwrap();
                assert_eq!(found.secret_expires_at, end.map(hours));
                assert_eq!((found.key.id, found.key.key_prefix.clone()), (key.id, key.key_prefix.clone()));
            }
        }
        assert_eq!(key.version, 4);
        let just_before = hours(5) - TimeDelta::microseconds(1);
        assert!(stack.repository.keys().by_secret(&secrets[0], just_before).await.unwrap().is_some());
        assert!(stack.repository.keys().by_secret(&secrets[0], hours(5)).await.unwrap().is_none());
        assert!(stack.repository.keys().by_secret(&secrets[3], hours(5)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_rotation_from_an_old_version_leaves_the_secret_alone() {
    for stack in Stack::every().await {
        let (key, hash) = stack.key(TENANT, "rotated").await;
        let new = KeySecret::generate(Environment::Live).unwrap();
        let stale = tollgate_domain::ApiKey { version: 9, ..key };
        let now = stack.clock.now();
        assert_eq!(stack.repository.rotate_api_key_to(TENANT, &stale, &new, now).await.unwrap(), None);
        assert!(stack.repository.keys().by_secret(&hash, now).await.unwrap().is_some());
        assert!(stack.repository.keys().by_secret(&new.hash(), now).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_deleted_key_is_gone_with_its_secrets_and_its_usage_stays() {
    for stack in Stack::every().await {
        let (key, hash) = stack.key(TENANT, "deleted").await;
        let now = stack.clock.now();
        let rows = |units| vec![usage(&key, "2026-05-15T10:00:00Z", allowed(units))];
        let boot = stack.boot();
        stack.repository.usage().apply(&batch(boot, 0, 10, rows(3), vec![])).await.unwrap();
        assert!(stack.repository.keys().delete(TENANT, key.id, now, agreed).await.unwrap());
        assert!(!stack.repository.keys().delete(TENANT, key.id, now, agreed).await.unwrap());
        assert_eq!(stack.repository.keys().get(TENANT, key.id).await.unwrap(), None);
        assert_eq!(stack.repository.keys().with_plan(TENANT, key.id, now).await.unwrap(), None);
        assert_eq!(stack.repository.keys().by_secret(&hash, now - TimeDelta::days(1)).await.unwrap(), None);
        assert_eq!(stack.repository.update_api_key(TENANT, &key).await.unwrap(), None);
        let new = KeySecret::generate(Environment::Live).unwrap();
        assert_eq!(stack.repository.rotate_api_key_to(TENANT, &key, &new, now).await.unwrap(), None);
        // What was admitted before the deletion reached every node is still owed.
        stack.repository.usage().apply(&batch(boot, 10, 20, rows(4), vec![])).await.unwrap();
        let period = stack.repository.usage().of_period(TENANT, key.id, at("2026-05-01T00:00:00Z")).await.unwrap();
        assert_eq!(period, allowed(7));
    }
}

#[tokio::test]
async fn counts_are_by_plan_and_status() {
    for stack in Stack::every().await {
        stack.plan("free").await;
        let (mut suspended, _) = stack.key(TENANT, "a").await;
        suspended.status = KeyStatus::Suspended;
        stack.repository.update_api_key(TENANT, &suspended).await.unwrap().unwrap();
        let (gone, _) = stack.key(TENANT, "b").await;
        stack.repository.keys().delete(TENANT, gone.id, stack.clock.now(), agreed).await.unwrap();
        let (free, hash) = stack.key_of(TENANT, "free", "c");
        stack.repository.keys().insert(TENANT, &free, &hash).await.unwrap();
        stack.key(TENANT, "d").await;
        stack.key(stack.tenant().await, "e").await;
        let count = |tier: &str, status, count| KeyCount { tier: tier.to_owned(), status, count };
        let expected = [
            count("free", KeyStatus::Active, 1),
            count("pro", KeyStatus::Active, 2),
            count("pro", KeyStatus::Suspended, 1),
        ];
        assert_eq!(stack.repository.keys().counts().await.unwrap(), expected);
    }
}

//! Revisions: every write to a key or plan is told to whoever polls, in whatever order the writers commit.

use std::collections::BTreeSet;

use tollgate_domain::{Environment, KeySecret};
use tollgate_repository::Changes;

use crate::harness::{FromVersion, Stack, TENANT, agreed};

#[tokio::test]
async fn every_write_is_told_once_it_is_committed_and_nothing_else_is() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let plan = stack.plan("pro").await;
        let (key, _) = stack.key(TENANT, "told").await;
        let mut seen = repository.revision().await.unwrap();
        assert_eq!(repository.changes_since(seen).await.unwrap(), Changes { revision: seen, ..Changes::default() });

        let key = repository.update_api_key(TENANT, &key).await.unwrap().unwrap();
        let of_key = repository.changes_since(seen).await.unwrap();
        assert_eq!((of_key.api_keys, of_key.plans), (vec![key.id], vec![]));
        seen = of_key.revision;

        let secret = KeySecret::generate(Environment::Live).unwrap();
        let now = stack.clock.now();
        let key = repository.rotate_api_key_to(TENANT, &key, &secret, now).await.unwrap().unwrap();
        let rotated = repository.changes_since(seen).await.unwrap();
        assert_eq!(rotated.api_keys, [key.id]);
        seen = rotated.revision;

        repository.keys().delete(TENANT, key.id, now, agreed).await.unwrap();
        repository.update_plan(TENANT, &plan).await.unwrap().unwrap();
        let both = repository.changes_since(seen).await.unwrap();
        assert_eq!((both.api_keys, both.plans), (vec![key.id], vec![(TENANT, "pro".to_owned())]));
        seen = both.revision;

        assert!(repository.plans().delete(TENANT, plan.id, agreed).await.unwrap());
        assert_eq!(repository.changes_since(seen).await.unwrap().plans, [(TENANT, "pro".to_owned())]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_misses_no_key_of_eight_concurrent_writers() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let start = stack.repository.revision().await.unwrap();
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let repository = stack.repository.clone();
                let keys: Vec<_> = (0..12).map(|_| stack.key_of(TENANT, "pro", "raced")).collect();
                tokio::spawn(async move {
                    let mut made = BTreeSet::new();
                    for (key, hash) in keys {
                        made.insert(repository.keys().insert(TENANT, &key, &hash).await.unwrap().id);
                    }
                    made
                })
            })
            .collect();
        let (mut told, mut seen) = (BTreeSet::new(), start);
        while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
            let changes = stack.repository.changes_since(seen).await.unwrap();
            assert!(changes.revision >= seen);
            seen = changes.revision;
            told.extend(changes.api_keys);
        }
        told.extend(stack.repository.changes_since(seen).await.unwrap().api_keys);
        let mut made = BTreeSet::new();
        for writer in writers {
            made.extend(writer.await.unwrap());
        }
        assert_eq!(made.len(), 96);
        assert_eq!(told, made);
    }
}

//! Usage: a batch counts once however often it comes, and everything it adds is there at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tollgate_domain::{ApiKey, ApiKeyId, Granularity, JournalStream, TenantId, UsageStats, usage::Counts};
use tollgate_repository::Applied;

use crate::harness::{Stack, TENANT, allowed, at, batch, endpoint, fold, usage};

const MAY: &str = "2026-05-01T00:00:00Z";

#[tokio::test]
async fn a_batch_counts_once_and_only_where_the_cursor_stands() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let (key, _) = stack.key(TENANT, "counted").await;
        let boot = stack.boot();
        let rows = || vec![usage(&key, "2026-05-15T10:00:00Z", allowed(2))];
        let ends = || vec![endpoint(&key, "2026-05-15T00:00:00Z", "/a", 2)];
        let deliver = async |from, to| repository.usage().apply(&batch(boot, from, to, rows(), ends())).await.unwrap();
        assert_eq!(repository.usage().journal_cursor(boot, JournalStream::Usage).await.unwrap(), 0);
        assert_eq!(deliver(100, 200).await, Applied::Gap, "its beginning never came");
        assert_eq!(deliver(0, 100).await, Applied::Moved);
        assert_eq!(deliver(0, 100).await, Applied::Already);
        assert_eq!(deliver(50, 150).await, Applied::Gap, "a part was counted before");
        assert_eq!(deliver(150, 200).await, Applied::Gap, "a part is missing");
        assert_eq!(deliver(100, 200).await, Applied::Moved);
        assert_eq!(deliver(0, 100).await, Applied::Already);
        assert_eq!(deliver(200, 200).await, Applied::Already, "an empty span covers nothing");
        assert_eq!(repository.usage().journal_cursor(boot, JournalStream::Usage).await.unwrap(), 200);
        assert_eq!(repository.usage().journal_cursor(boot, JournalStream::Violations).await.unwrap(), 0);
        assert_eq!(repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(4));
        let top = repository.usage().top_endpoints(TENANT, key.id, at(MAY), 10).await.unwrap();
        assert_eq!(top, [("/a".to_owned(), 4)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_deliveries_of_one_batch_one_counts() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "raced").await;
        let other = stack.another().await;
        let boot = stack.boot();
        for round in 0..5_u64 {
            let deliveries: Vec<_> = (0..8)
                .map(|n| {
                    let node = if n % 2 == 0 { stack.repository.clone() } else { other.clone() };
                    let rows = vec![usage(&key, "2026-05-15T10:00:00Z", allowed(1))];
                    let batch = batch(boot, round * 10, round * 10 + 10, rows, vec![]);
                    tokio::spawn(async move { node.usage().apply(&batch).await.unwrap() })
                })
                .collect();
            let mut moved = 0;
            for delivery in deliveries {
                moved += u32::from(delivery.await.unwrap() == Applied::Moved);
            }
            assert_eq!(moved, 1);
        }
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_on_the_same_keys_lose_nothing_whatever_order_their_rows_have() {
    for stack in Stack::every().await {
        let mut keys = Vec::new();
        for n in 0..5 {
            keys.push(stack.key(TENANT, &n.to_string()).await.0);
        }
        let other = stack.another().await;
        let writers: Vec<_> = (0..8_u64)
            .map(|n| {
                let node = if n % 2 == 0 { stack.repository.clone() } else { other.clone() };
                let mut keys = keys.clone();
                if n % 3 == 0 {
                    keys.reverse();
                }
                let boot = stack.boot();
                tokio::spawn(async move {
                    for step in 0..15_u64 {
                        let rows = keys.iter().map(|key| usage(key, "2026-05-15T10:00:00Z", allowed(1))).collect();
                        let ends = keys.iter().map(|key| endpoint(key, "2026-05-15T00:00:00Z", "/a", 1)).collect();
                        let batch = batch(boot, step, step + 1, rows, ends);
                        assert_eq!(node.usage().apply(&batch).await.unwrap(), Applied::Moved);
                        if step % 4 == 0 {
                            fold(&node).await;
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        for key in &keys {
            assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(120));
            let top = stack.repository.usage().top_endpoints(TENANT, key.id, at(MAY), 10).await.unwrap();
            assert_eq!(top, [("/a".to_owned(), 120)]);
            let days = stack
                .repository
                .usage()
                .series(TENANT, key.id, Granularity::Daily, at(MAY), at("2026-06-01T00:00:00Z"))
                .await
                .unwrap();
            assert_eq!(days, [(at("2026-05-15T00:00:00Z"), allowed(120))]);
        }
    }
}

#[tokio::test]
async fn what_was_counted_is_kept_whatever_became_of_the_key() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "known").await;
        let unknown = ApiKey { id: ApiKeyId(stack.clock.new_id()), ..key.clone() };
        let foreign = ApiKey { tenant_id: TenantId(stack.clock.new_id()), ..key.clone() };
        let all = [&unknown, &key, &foreign];
        let rows = all.iter().map(|key| usage(key, "2026-05-15T10:00:00Z", allowed(1))).collect();
        let ends = all.iter().map(|key| endpoint(key, "2026-05-15T00:00:00Z", "/a", 1)).collect();
        let applied = stack.repository.usage().apply(&batch(stack.boot(), 0, 1, rows, ends)).await.unwrap();
        assert_eq!(applied, Applied::Moved);
        assert_eq!(fold(&stack.repository).await.len(), 3);
        for key in all {
            let counts = stack.repository.usage().of_period(key.tenant_id, key.id, at(MAY)).await.unwrap();
            assert_eq!(counts, allowed(1));
        }
    }
}

#[tokio::test]
async fn batches_of_many_keys_are_seen_at_once_and_written_once_per_key() {
    for stack in Stack::every().await {
        let (first, _) = stack.key(TENANT, "first").await;
        let keys: Vec<_> = std::iter::once(first.clone())
            .chain((0..999).map(|_| ApiKey { id: ApiKeyId(stack.clock.new_id()), ..first.clone() }))
            .collect();
        let boot = stack.boot();
        for step in 0..3 {
            let rows = keys.iter().map(|key| usage(key, "2026-05-15T10:00:00Z", allowed(2))).collect();
            let ends = vec![endpoint(&first, "2026-05-15T00:00:00Z", "/a", 2)];
            let batch = batch(boot, step, step + 1, rows, ends);
            assert!(batch.chunks.len() > 100, "spread over buckets");
            assert_eq!(stack.repository.usage().apply(&batch).await.unwrap(), Applied::Moved);
        }
        let figures = async || {
            let counts = stack.repository.usage().of_period(TENANT, first.id, at(MAY)).await.unwrap();
            let stats = stack.repository.usage().stats(TENANT, first.id, stack.clock.now()).await.unwrap();
            let series = stack.repository.usage().series(
                TENANT,
                first.id,
                Granularity::Hourly,
                at(MAY),
                at("2026-06-01T00:00:00Z"),
            );
            let top = stack.repository.usage().top_endpoints(TENANT, first.id, at(MAY), 10).await.unwrap();
            (counts, stats, series.await.unwrap(), top)
        };
        let before = figures().await;
        assert_eq!(before.0, allowed(6));
        assert_eq!(stack.number("select count(*) from usage_minutes").await, 0);
        let totals = fold(&stack.repository).await;
        assert_eq!(totals.len(), 1_000);
        assert!(totals.iter().all(|total| (total.allowed, total.period_start) == (6, at(MAY))));
        assert_eq!(figures().await, before);
        assert_eq!(stack.number("select count(*) from usage_minutes").await, 1_000);
        assert_eq!(stack.repository.usage().waiting_parts().await.unwrap(), []);
        assert_eq!(fold(&stack.repository).await, [], "nothing is added twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_while_others_fold_sees_each_unit_once() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "moving").await;
        let (folder, writer) = (stack.another().await, stack.another().await);
        let boot = stack.boot();
        let done = Arc::new(AtomicBool::new(false));
        let folding = tokio::spawn({
            let done = done.clone();
            async move {
                while !done.load(Ordering::Acquire) {
                    fold(&folder).await;
                }
            }
        });
        for step in 0..30 {
            let rows = vec![usage(&key, "2026-05-15T10:00:00Z", allowed(1))];
            writer.usage().apply(&batch(boot, step, step + 1, rows, vec![])).await.unwrap();
            let units = i64::try_from(step).unwrap() + 1;
            for _ in 0..5 {
                let counts = stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap();
                assert_eq!(counts, allowed(units));
            }
        }
        done.store(true, Ordering::Release);
        folding.await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_of_thousands_of_rows_is_one_transaction() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "busy").await;
        let start = at("2026-05-15T00:00:00Z");
        let minute = |n| (start + chrono::TimeDelta::minutes(n)).to_rfc3339();
        let rows: Vec<_> = (0..1_700).map(|n| usage(&key, &minute(n), allowed(1))).collect();
        stack.repository.usage().apply(&batch(stack.boot(), 0, 1, rows, vec![])).await.unwrap();
        assert_eq!(stack.repository.usage().of_period(TENANT, key.id, at(MAY)).await.unwrap(), allowed(1_700));
        fold(&stack.repository).await;
        assert_eq!(stack.number("select count(*) from usage_minutes").await, 1_700);
    }
}

#[tokio::test]
async fn hostile_endpoint_names_neither_stop_the_batch_nor_grow_the_table() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "hostile").await;
        let day = "2026-05-15T00:00:00Z";
        let (first, second) = ("x".repeat(1_000_000), format!("{}y", "x".repeat(1_200)));
        let names = ["nul\0byte", "", "(other)", "'; --", "\u{202e}rtl", &first, &second];
        let ends = names.iter().map(|name| endpoint(&key, day, name, 1)).collect();
        let boot = stack.boot();
        assert_eq!(stack.repository.usage().apply(&batch(boot, 0, 1, vec![], ends)).await.unwrap(), Applied::Moved);
        let top = stack.repository.usage().top_endpoints(TENANT, key.id, at(day), 10).await.unwrap();
        assert_eq!(top.len(), 6, "the two long names are one after the cut");
        assert_eq!(top[0], ("x".repeat(1_024), 2));
        fold(&stack.repository).await;
        assert_eq!(stack.repository.usage().top_endpoints(TENANT, key.id, at(day), 10).await.unwrap(), top);
        // 80 names now and 80 later: 5 and 95 of them fit next to the 5 that are there, the rest is gathered.
        for (step, range) in [(1, 0..80), (2, 80..160)] {
            let ends = range.map(|n| endpoint(&key, day, &format!("/{n}"), 1)).collect();
            stack.repository.usage().apply(&batch(boot, step, step + 1, vec![], ends)).await.unwrap();
            fold(&stack.repository).await;
        }
        let top = stack.repository.usage().top_endpoints(TENANT, key.id, at(day), 1_000).await.unwrap();
        assert_eq!(top.len(), 101);
        assert_eq!(top[0], ("(other)".to_owned(), 1 + 65));
        assert_eq!(top.iter().map(|(_, units)| units).sum::<i64>(), 7 + 160);
    }
}

#[tokio::test]
async fn stats_count_admitted_and_refused_and_keep_the_last_moment() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "stats").await;
        assert_eq!(
            stack.repository.usage().stats(TENANT, key.id, stack.clock.now()).await.unwrap(),
            UsageStats::default()
        );
        let each = Counts { allowed: 1, rate_limited: 10, quota_exceeded: 100, rejected: 1_000 };
        let minutes = ["2026-05-15T10:29:00Z", "2026-05-15T00:00:00Z", "2026-05-14T23:59:00Z", "2026-04-30T23:59:00Z"];
        let rows = minutes.map(|minute| usage(&key, minute, each)).to_vec();
        stack.repository.usage().apply(&batch(stack.boot(), 0, 1, rows, vec![])).await.unwrap();
        let expected = UsageStats {
            total_requests: 4_444,
            requests_this_month: 3_333,
            requests_today: 2_222,
            last_used_at: Some(at("2026-05-15T10:29:30Z")),
        };
        assert_eq!(stack.repository.usage().stats(TENANT, key.id, stack.clock.now()).await.unwrap(), expected);
        // Late rows of another node do not turn the last moment back.
        let late = vec![usage(&key, "2026-05-02T00:00:00Z", allowed(1))];
        stack.repository.usage().apply(&batch(stack.boot(), 0, 1, late, vec![])).await.unwrap();
        let stats = stack.repository.usage().stats(TENANT, key.id, stack.clock.now()).await.unwrap();
        assert_eq!((stats.last_used_at, stats.total_requests), (expected.last_used_at, 4_445));
    }
}

#[tokio::test]
async fn totals_are_told_of_keys_used_since() {
    for stack in Stack::every().await {
        let (idle, _) = stack.key(TENANT, "idle").await;
        let (busy, _) = stack.key(TENANT, "busy").await;
        let (busiest, _) = stack.key(stack.tenant().await, "busiest").await;
        let rows = vec![
            usage(&idle, "2026-05-10T00:00:00Z", allowed(1)),
            usage(&busy, "2026-05-15T10:00:00Z", allowed(2)),
            usage(&busy, "2026-04-15T10:00:00Z", allowed(9)),
            usage(&busiest, "2026-05-15T10:01:00Z", allowed(3)),
        ];
        stack.repository.usage().apply(&batch(stack.boot(), 0, 1, rows, vec![])).await.unwrap();
        fold(&stack.repository).await;
        let totals = async |limit| {
            let mut totals =
                stack.repository.usage().period_totals(at("2026-05-15T10:00:00Z"), at(MAY), limit).await.unwrap();
            totals.sort_unstable();
            totals
        };
        let mut expected = [(busiest.tenant_id, busiest.id, 3), (TENANT, busy.id, 2)];
        expected.sort_unstable();
        assert_eq!(totals(10).await, expected);
        assert_eq!(totals(1).await, [(busiest.tenant_id, busiest.id, 3)], "the last used first");
    }
}

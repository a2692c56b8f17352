//! Violations: summed per minute, each batch once, read newest first without gaps or repeats.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKey, BootId, JournalStream, ViolationCursor,
    usage::{JournalSpan, ViolationBatch, ViolationRow},
};
use tollgate_repository::Applied;

use crate::harness::{Stack, TENANT, at};

pub(crate) fn row(key: &ApiKey, minute: DateTime<Utc>, limit: &str, endpoint: &str, count: i64) -> ViolationRow {
    ViolationRow {
        tenant_id: key.tenant_id,
        api_key_id: key.id,
        limit_name: limit.to_owned(),
        endpoint: endpoint.to_owned(),
        minute,
        ip_address: "192.0.2.1".to_owned(),
        count,
        first_at: minute + TimeDelta::seconds(10),
        last_at: minute + TimeDelta::seconds(20),
    }
}

pub(crate) fn batch(boot: BootId, from: u64, to: u64, rows: Vec<ViolationRow>) -> ViolationBatch {
    ViolationBatch { span: JournalSpan { boot, from, to }, rows }
}

#[tokio::test]
async fn refusals_of_a_minute_become_one_row_with_the_first_the_last_and_the_last_address() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let (key, _) = stack.key(TENANT, "attacker").await;
        let minute = at("2026-05-15T10:00:00Z");
        let first = row(&key, minute, "per-hour", "/a", 3);
        let mut earlier = row(&key, minute, "per-hour", "/a", 4);
        earlier.first_at = minute + TimeDelta::seconds(1);
        earlier.last_at = minute + TimeDelta::seconds(2);
        earlier.ip_address = "192.0.2.2".to_owned();
        let mut later = row(&key, minute, "per-hour", "/a", 5);
        later.last_at = minute + TimeDelta::seconds(59);
        later.ip_address = "2001:db8::\0".to_owned();
        let boot = stack.boot();
        assert_eq!(
            repository.violations().record(&batch(boot, 0, 1, vec![first.clone()])).await.unwrap(),
            Applied::Moved
        );
        assert_eq!(repository.violations().record(&batch(boot, 0, 1, vec![first])).await.unwrap(), Applied::Already);
        let both = vec![later.clone(), earlier.clone()];
        assert_eq!(repository.violations().record(&batch(boot, 1, 2, both)).await.unwrap(), Applied::Moved);
        assert_eq!(repository.violations().record(&batch(boot, 9, 10, vec![])).await.unwrap(), Applied::Gap);
        let read = repository.violations().list(TENANT, key.id, minute, None, 10).await.unwrap();
        let expected = ViolationRow {
            count: 12,
            first_at: earlier.first_at,
            ip_address: "2001:db8::\u{FFFD}".to_owned(),
            ..later
        };
        assert_eq!(read, [expected]);
        assert_eq!(repository.violations().count(TENANT, key.id, minute).await.unwrap(), 12);
        assert_eq!(repository.violations().count(TENANT, key.id, at("2026-05-15T10:01:00Z")).await.unwrap(), 0);
        assert_eq!(repository.usage().journal_cursor(boot, JournalStream::Violations).await.unwrap(), 2);
        assert_eq!(repository.usage().journal_cursor(boot, JournalStream::Usage).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn pages_by_cursor_have_no_gaps_and_no_repeats() {
    for stack in Stack::every().await {
        let (key, _) = stack.key(TENANT, "attacker").await;
        let start = at("2026-05-15T10:00:00Z");
        let mut rows = Vec::new();
        // All rows of a pair of minutes share last_at, so only the rest of the order tells them apart.
        for minute in 0..6 {
            for (limit, endpoint) in
                [("per-hour", "/a"), ("per-hour", "/B"), ("per-hour", "/b"), ("quota", ""), ("A", "é")]
            {
                let mut row = row(&key, start + TimeDelta::minutes(minute), limit, endpoint, 1);
                row.last_at = start + TimeDelta::minutes(minute / 2 * 2 + 2);
                rows.push(row);
            }
        }
        stack.repository.violations().record(&batch(stack.boot(), 0, 1, rows.clone())).await.unwrap();
        rows.sort_by(|a, b| {
            let order = |r: &ViolationRow| (r.last_at, r.minute, r.limit_name.clone(), r.endpoint.clone());
            order(b).cmp(&order(a))
        });
        for limit in [1, 4, 7, 30] {
            let mut read: Vec<ViolationRow> = Vec::new();
            loop {
                let cursor = read.last().map(|last| ViolationCursor::from(last).to_string().parse().unwrap());
                let page =
                    stack.repository.violations().list(TENANT, key.id, start, cursor.as_ref(), limit).await.unwrap();
                assert!(page.len() <= usize::try_from(limit).unwrap());
                if page.is_empty() {
                    break;
                }
                read.extend(page);
            }
            assert_eq!(read, rows, "{limit} a page on {}", stack.repository.engine());
        }
        let recent =
            stack.repository.violations().list(TENANT, key.id, start + TimeDelta::minutes(6), None, 100).await.unwrap();
        assert_eq!(recent.len(), 10);
    }
}

#[tokio::test]
async fn a_flood_of_endpoints_fills_a_days_rows_and_then_one_row_per_hour() {
    for stack in Stack::every().await {
        let (flooded, _) = stack.key(TENANT, "flooded").await;
        let (calm, _) = stack.key(TENANT, "calm").await;
        let boot = stack.boot();
        let start = at("2026-05-15T10:00:00Z");
        for minute in 0..30_i64 {
            let now = start + TimeDelta::minutes(minute * 5);
            let mut rows: Vec<_> =
                (0..100).map(|n| row(&flooded, now, "per-hour", &format!("/{minute}/{n}"), 2)).collect();
            rows.push(row(&flooded, now, "quota", "/quiet", 1));
            rows.push(row(&calm, now, "per-hour", "/a", 1));
            let at = u64::try_from(minute).unwrap();
            stack.repository.violations().record(&batch(boot, at, at + 1, rows)).await.unwrap();
        }
        let count = async |key: &ApiKey| stack.repository.violations().count(TENANT, key.id, start).await.unwrap();
        assert_eq!(count(&flooded).await, 30 * 201, "every refusal is counted");
        assert_eq!(count(&calm).await, 30);
        let read = stack.repository.violations().list(TENANT, flooded.id, start, None, 10_000).await.unwrap();
        let of = |limit: &str, endpoint: &str| {
            read.iter().filter(|row| row.limit_name == limit && row.endpoint.starts_with(endpoint)).count()
        };
        assert_eq!(of("per-hour", "/"), 1_000);
        assert_eq!(of("per-hour", "(other)"), 3, "10:50 to 12:25");
        assert_eq!(of("quota", "/quiet"), 30, "another limit has room of its own");
        let calm = stack.repository.violations().list(TENANT, calm.id, start, None, 100).await.unwrap();
        assert!(calm.len() == 30 && calm.iter().all(|row| row.endpoint == "/a"));
    }
}

//! Random deliveries: doubled, reordered, lost and resent, with folds and clean-ups in between, end with exact sums.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tollgate_domain::{
    ApiKey, BillingPeriod, Granularity, JournalStream,
    usage::{Counts, KeyUsage, MinuteUsage, UsageBatch},
};
use tollgate_repository::Retention;

use crate::harness::{Stack, TENANT, at, batch, fold};

const KEYS: usize = 2;
/// Four days around the end of a month.
const MINUTES: i64 = 4 * 1_440;
const START: &str = "2026-04-29T00:00:00Z";

/// A record of a journal: which key, which minute from the start, how many of each count.
type Record = (usize, i64, [i64; 4]);

#[derive(Clone, Debug)]
enum Step {
    /// Deliver the n-th batch, be it its turn or not.
    Deliver(prop::sample::Index),
    /// Add what waits to the tables.
    Fold,
    /// Drop minutes of days before this minute's.
    CleanUp(i64),
}

fn record() -> impl Strategy<Value = Record> {
    (0..KEYS, 0..MINUTES, [0..5_i64, 0..3_i64, 0..2_i64, 0..2_i64])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        2 => Just(Step::Fold),
        1 => (0..MINUTES + 1_440).prop_map(Step::CleanUp),
    ]
}

fn minute(offset: i64) -> DateTime<Utc> {
    at(START) + TimeDelta::minutes(offset)
}

fn counts([allowed, rate_limited, quota_exceeded, rejected]: [i64; 4]) -> Counts {
    Counts { allowed, rate_limited, quota_exceeded, rejected }
}

fn batches(stack: &Stack, keys: &[ApiKey], journal: &[Vec<Record>]) -> Vec<UsageBatch> {
    let boot = stack.boot();
    let mut from = 0;
    journal
        .iter()
        .map(|records| {
            let rows = records.iter().map(|(key, offset, c)| {
                let row = MinuteUsage { minute: minute(*offset), counts: counts(*c), last_at: minute(*offset) };
                KeyUsage { tenant_id: TENANT, api_key_id: keys[*key].id, minutes: vec![row], endpoints: vec![] }
            });
            let to = from + 1 + u64::try_from(records.len()).unwrap();
            let batch = batch(boot, from, to, rows.collect(), vec![]);
            from = to;
            batch
        })
        .collect()
}

fn expected(
    journal: &[Vec<Record>],
    key: usize,
    bucket: impl Fn(DateTime<Utc>) -> DateTime<Utc>,
) -> Vec<(DateTime<Utc>, Counts)> {
    let mut sums: BTreeMap<_, Counts> = BTreeMap::new();
    for (_, offset, c) in journal.iter().flatten().filter(|(of, _, _)| *of == key) {
        sums.entry(bucket(minute(*offset))).or_default().add(&counts(*c));
    }
    sums.into_iter().collect()
}

fn floor(at: DateTime<Utc>, seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp() / seconds * seconds, 0).unwrap()
}

async fn tell(stack: &Stack, journal: &[Vec<Record>], steps: &[Step]) {
    let repository = &stack.repository;
    let mut keys = Vec::new();
    for n in 0..KEYS {
        keys.push(stack.key(TENANT, &n.to_string()).await.0);
    }
    let batches = batches(stack, &keys, journal);
    for step in steps {
        match step {
            Step::Deliver(_) if batches.is_empty() => (),
            Step::Deliver(n) => drop(repository.usage().apply(n.get(&batches)).await.unwrap()),
            Step::Fold => drop(fold(repository).await),
            Step::CleanUp(before) => {
                let never = at("2000-01-01T00:00:00Z");
                let cutoffs = Retention {
                    minutes: minute(*before),
                    violations: never,
                    idempotency: never,
                    secrets: never,
                    events: never,
                    endpoints: never,
                };
                repository.clean_up(&cutoffs).await.unwrap();
            }
        }
    }
    // The shipper goes on from the cursor until the journal is in.
    for batch in &batches {
        let cursor = repository.usage().journal_cursor(batch.span.boot, JournalStream::Usage).await.unwrap();
        if cursor <= batch.span.from {
            repository.usage().apply(batch).await.unwrap();
        }
    }
    check(stack, &keys, journal).await;
    fold(repository).await;
    assert_eq!(repository.usage().waiting_parts().await.unwrap(), []);
    check(stack, &keys, journal).await;
}

async fn check(stack: &Stack, keys: &[ApiKey], journal: &[Vec<Record>]) {
    let (from, to) = (at("2026-04-01T00:00:00Z"), minute(MINUTES + 1_440));
    for (n, key) in keys.iter().enumerate() {
        let series = async |g| stack.repository.usage().series(TENANT, key.id, g, from, to).await.unwrap();
        assert_eq!(series(Granularity::Hourly).await, expected(journal, n, |at| floor(at, 3_600)));
        assert_eq!(series(Granularity::Daily).await, expected(journal, n, |at| floor(at, 86_400)));
        let months = expected(journal, n, |at| BillingPeriod::containing(at).start);
        assert_eq!(series(Granularity::Monthly).await, months);
    }
}

fn on(stack: impl Future<Output = Stack>, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stack = runtime.block_on(stack);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let inputs = (vec(vec(record(), 0..12), 0..6), vec(step(), 0..24));
    TestRunner::new(config)
        .run(&inputs, |(journal, steps)| {
            runtime.block_on(tell(&stack, &journal, &steps));
            Ok(())
        })
        .unwrap();
    drop(stack);
}

#[test]
fn random_deliveries_end_with_exact_sums_on_sqlite() {
    on(Stack::sqlite(), 48);
}

#[test]
fn random_deliveries_end_with_exact_sums_on_postgres() {
    on(Stack::postgres(), 48);
}

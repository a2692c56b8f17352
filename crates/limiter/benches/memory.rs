//! A check in memory beside `governor`'s keyed limiter, over one subject and over a million.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up should stop")]
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use governor::{Quota as GovernorQuota, RateLimiter};
use tollgate_limiter::{
    Calendar, CalendarUnit, Check, HashKey, Limit, Limiter, Options, Quota, Subject, Timestamp, Tz, Window,
};

const START: Timestamp = Timestamp::from_seconds(1_767_225_600);
/// Coprime to every number of subjects used, so that each is visited once before any twice.
const STRIDE: usize = 611_953;

fn every(seconds: u64) -> Window {
    Window::Every(Duration::from_secs(seconds))
}

fn limit(name: &str, quota: Result<Quota, tollgate_limiter::InvalidQuota>) -> Limit {
    Limit::new(name, quota.expect("a legal quota"))
}

/// Limits so large that nothing is refused: a refusal is cheaper.
fn mixes() -> [(&'static str, Vec<Limit>); 4] {
    let large = 1_000_000_000;
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    let sliding = |name: &str, seconds| limit(name, Quota::sliding_window(large, every(seconds)));
    let fixed = |name: &str, seconds| limit(name, Quota::fixed_window(large, every(seconds)));
    let quota = || limit("quota", Quota::fixed_window(large, month));
    let mixed =
        (1..5).flat_map(|size| [sliding(&format!("s{size}"), size * 60), fixed(&format!("f{size}"), size * 60)]);
    [
        ("sliding", vec![sliding("hour", 3600)]),
        ("fixed", vec![fixed("hour", 3600)]),
        ("sliding + monthly quota", vec![sliding("hour", 3600), quota()]),
        ("8 mixed", mixed.collect()),
    ]
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    for count in [1, 1_000_000] {
        let key = HashKey::new([7; 16]);
        for (name, limits) in mixes() {
            let limiter = Limiter::memory(&Options { max_subjects: 2_000_000, ..Options::default() });
            let (mut at, mut now) = (0, START);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    at = (at + STRIDE) % count;
                    now = now.saturating_add(Duration::from_micros(1));
                    // As `governor` does, from the name.
                    let subject = Subject::new(&key, &[at.to_le_bytes().as_slice()]);
                    black_box(limiter.check_now(&Check::new(subject, &limits), now))
                });
            });
        }
        let limiter = RateLimiter::keyed(GovernorQuota::per_second(NonZeroU32::MAX));
        let mut at = 0;
        group.bench_function(BenchmarkId::new("governor", count), |bencher| {
            bencher.iter(|| {
                at = (at + STRIDE) % count;
                black_box(limiter.check_key(&(at as u64)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, memory);
criterion_main!(benches);

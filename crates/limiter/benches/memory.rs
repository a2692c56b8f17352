//! A check in memory compared with `governor`'s keyed limiter, over one subject and over a million.
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
/// In no order that has to do with the order in which the subjects came: a store must not profit from that.
struct Visits {
    state: u64,
    count: u64,
}

impl Iterator for Visits {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(((self.state >> 32) * self.count) >> 32)
    }
}

fn every(seconds: u64) -> Window {
    Window::Every(Duration::from_secs(seconds))
}

fn limit(name: &str, quota: Result<Quota, tollgate_limiter::InvalidQuota>) -> Limit {
    Limit::new(name, quota.expect("a legal quota"))
}

/// Limits so large that nothing is refused: a refusal is cheaper.
fn mixes() -> [(&'static str, Vec<Limit>); 6] {
    let large = 1_000_000_000;
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    let sliding = |name: &str, seconds| limit(name, Quota::sliding_window(large, every(seconds)));
    let fixed = |name: &str, seconds| limit(name, Quota::fixed_window(large, every(seconds)));
    let quota = || limit("quota", Quota::fixed_window(large, month));
    // Of a size that takes years to fill, so that none is ever full again.
    let years = Duration::from_secs(3_660 * 86_400);
    let bucket = |name: &str| limit(name, Quota::token_bucket(large, years, large));
    let windows =
        (1..4).flat_map(|size| [sliding(&format!("s{size}"), size * 60), fixed(&format!("f{size}"), size * 60)]);
    let mixed = windows.chain([bucket("b1"), bucket("b2")]);
    [
        ("sliding", vec![sliding("hour", 3600)]),
        ("fixed", vec![fixed("hour", 3600)]),
        ("bucket", vec![bucket("bucket")]),
        // A subject that is checked every µs has a full log all the time, of which the oldest moment leaves then.
        ("log", vec![limit("log", Quota::sliding_log(1_000, Duration::from_millis(1)))]),
        ("sliding + monthly quota", vec![sliding("hour", 3600), quota()]),
        ("8 mixed", mixed.collect()),
    ]
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    for count in [1, 1_000_000] {
        let key = HashKey::new([7; 16]);
        // One walk for all samples: each would visit the same few subjects again if it began again.
        let mut visits = Visits { state: 1, count };
        for (name, limits) in mixes() {
            let limiter = Limiter::memory(&Options { max_subjects: 2_000_000, ..Options::default() });
            let mut now = START;
            let mut check = |name: u64| {
                now = now.saturating_add(Duration::from_micros(1));
                // As `governor` does, from the name.
                let subject = Subject::new(&key, &[name.to_le_bytes().as_slice()]);
                black_box(&limiter.begin(&Check::new(subject, &limits), now));
            };
            (0..count).for_each(&mut check);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| visits.next().map(&mut check));
            });
        }
        let limiter = RateLimiter::keyed(GovernorQuota::per_second(NonZeroU32::MAX));
        let check = |name: u64| {
            let _ = black_box(limiter.check_key(&name));
        };
        (0..count).for_each(check);
        group.bench_function(BenchmarkId::new("governor", count), |bencher| {
            bencher.iter(|| visits.next().map(check));
        });
    }
    group.finish();
}

criterion_group!(benches, memory);
criterion_main!(benches);

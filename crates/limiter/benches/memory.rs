//! A check in memory compared with `governor`'s keyed limiter and with what a table of the standard library (hashbrown)
//! would take to find and count alone, over one subject and over a million.
#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up should stop")]
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    num::NonZeroU32,
    sync::Mutex,
    time::Duration,
};

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

/// What a store of this kind cannot do without, on hashbrown: a lock per partition, one place found by the subject's hash,
/// one cell of the size of ours that a fixed window counts in. It decides nothing else and lets no subject go.
struct Hashbrown(Vec<Mutex<HashMap<Subject, Counted, BuildHasherDefault<Keyed>>>>);

#[derive(Default)]
struct Counted {
    window: i64,
    count: u64,
    /// An id and what the other algorithms keep.
    _rest: [u64; 3],
}

/// Takes the hash of a subject as it is.
#[derive(Default)]
struct Keyed(u64);

impl Hasher for Keyed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(self.0, |first| u64::from_le_bytes(*first));
    }

    fn write_u8(&mut self, _: u8) {}
}

impl Hashbrown {
    fn check(&self, subject: &Subject, limit: u64, now: Timestamp) -> bool {
        let mut held = self.0.get(usize::from(subject.partition())).expect("256").lock().expect("no panic");
        let counted = held.entry(*subject).or_default();
        let window = now.as_micros() / 3_600_000_000;
        if counted.window != window {
            *counted = Counted { window, ..Counted::default() };
        }
        let allowed = counted.count < limit;
        counted.count += u64::from(allowed);
        allowed
    }
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
        let store = Hashbrown((0..256).map(|_| Mutex::default()).collect());
        let mut now = START;
        let mut check = |name: u64| {
            now = now.saturating_add(Duration::from_micros(1));
            let subject = Subject::new(&key, &[name.to_le_bytes().as_slice()]);
            black_box(store.check(&subject, 1_000_000_000, now));
        };
        (0..count).for_each(&mut check);
        group.bench_function(BenchmarkId::new("hashbrown, find and count alone", count), |bencher| {
            bencher.iter(|| visits.next().map(&mut check));
        });
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

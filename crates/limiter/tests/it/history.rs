//! Nodes under load on one Redis, and a checker of what they admitted: no window holds more than its limit.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tollgate_limiter::{Algorithm, Check, Leases, Limit, Limiter, Options, Stats, Subject, Timestamp};
use tollgate_test_servers::redis::Redis;

use crate::harness::{bucket, fixed, log, seconds, sliding, subject};

const SECOND: i64 = 1_000_000;
const LIMIT: u64 = 400;
const CALLERS_PER_NODE: u64 = 4;

/// An admission: it happened between these two readings of the machine's clock, which is the server's too.
#[derive(Debug, Clone, Copy)]
struct Admission {
    subject: usize,
    asked: i64,
    answered: i64,
}

/// Who asks for whom, and when: the four subjects of each shape of traffic.
#[derive(Debug, Clone, Copy)]
enum Traffic {
    Uniform,
    Bursty,
    Skewed,
}

const SHAPES: [Traffic; 3] = [Traffic::Uniform, Traffic::Bursty, Traffic::Skewed];
const SUBJECTS: usize = 4;

impl Traffic {
    fn pick(self, random: &mut SmallRng) -> usize {
        match self {
            Self::Uniform | Self::Bursty => random.random_range(0..SUBJECTS),
            // 15 of 16 go to the first.
            Self::Skewed => random.random_range(0..16_usize).saturating_sub(12),
        }
    }

    fn is_quiet(self, now: i64) -> bool {
        matches!(self, Self::Bursty) && now % (SECOND / 4) > SECOND / 12
    }
}

#[expect(clippy::disallowed_methods, reason = "the checker does not rely on the clock it checks")]
fn clock() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// What callers have admitted so far, and whether they are to stop.
#[derive(Debug, Default)]
struct Record {
    admissions: Mutex<Vec<Admission>>,
    stop: AtomicBool,
}

impl Record {
    fn admissions(&self) -> Vec<Admission> {
        self.admissions.lock().unwrap().clone()
    }
}

async fn caller(node: Limiter, seed: u64, limits: Arc<[Limit]>, record: Arc<Record>) {
    let mut random = SmallRng::seed_from_u64(seed);
    let shape = (seed % 3) as usize;
    let subjects: Vec<Subject> = (0..SUBJECTS).map(|name| subject(&format!("{shape} {name}"))).collect();
    while !record.stop.load(Ordering::Relaxed) {
        let asked = clock();
        if SHAPES[shape].is_quiet(asked) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let picked = SHAPES[shape].pick(&mut random);
        let decision = node.check(Check::new(subjects[picked], &limits), Timestamp::default()).await.unwrap();
        if decision.allowed {
            assert!(!decision.degraded);
            let admission = Admission { subject: shape * SUBJECTS + picked, asked, answered: clock() };
            record.admissions.lock().unwrap().push(admission);
        }
        tokio::task::yield_now().await;
    }
}

/// How much of every whole window was certainly admitted within it.
fn windows(admissions: &[Admission]) -> HashMap<(usize, i64), u64> {
    let mut windows = HashMap::new();
    for Admission { subject, asked, answered } in admissions {
        if asked / SECOND == answered / SECOND {
            *windows.entry((*subject, asked / SECOND)).or_default() += 1;
        }
    }
    windows
}

/// Whether any stretch of time holds more than a bucket of `burst` lets through, with `rate` per second flowing in.
fn check_bucket(admissions: &[Admission], rate: u64, burst: u64, overshoot: u64) {
    for subject in 0..SUBJECTS * SHAPES.len() {
        let mut admitted: Vec<_> = admissions.iter().filter(|admission| admission.subject == subject).collect();
        admitted.sort_by_key(|admission| admission.answered);
        // Every 97th is start enough: a stretch that holds too much does so from its neighbours too, all but a few.
        for (start, first) in admitted.iter().enumerate().step_by(97) {
            let mut sum = 0;
            for admission in admitted.iter().skip(start).filter(|admission| admission.asked >= first.asked) {
                sum += 1;
                let flowed = (admission.answered - first.asked).unsigned_abs() * rate / SECOND.unsigned_abs();
                assert!(sum <= burst + flowed + overshoot, "{sum} where {burst} + {flowed} + {overshoot} are allowed");
            }
        }
    }
}

/// Whether any stretch of a second, wherever it begins, certainly holds more than its limit.
fn check_every_stretch(admissions: &[Admission]) {
    for subject in 0..SUBJECTS * SHAPES.len() {
        let mut admitted: Vec<_> = admissions.iter().filter(|admission| admission.subject == subject).collect();
        admitted.sort_by_key(|admission| admission.asked);
        for (start, first) in admitted.iter().enumerate() {
            let ends = first.asked + SECOND;
            let within = admitted.iter().skip(start).take_while(|admission| admission.asked < ends);
            let within = within.filter(|admission| admission.answered < ends).count() as u64;
            assert!(within <= LIMIT, "{within} within a second from {}", first.asked);
        }
    }
}

/// Whether three whole windows have been, and one of them was filled so far that the limit was in reach.
fn is_enough(admissions: &[Admission], began: i64) -> bool {
    let whole = clock() / SECOND - (began / SECOND + 1);
    whole >= 3 && windows(admissions).values().any(|admitted| *admitted > LIMIT * 8 / 10)
}

/// What nodes under load admitted of `limit` within three windows or more.
async fn run(nodes: u64, leases: Leases, limit: Limit) -> Vec<Admission> {
    let server = Redis::start();
    let logs = limit.quota().algorithm() == Algorithm::SlidingLog;
    let (record, limits) = (Arc::new(Record::default()), Arc::from([limit]));
    let (mut limiters, mut callers) = (Vec::new(), Vec::new());
    for node in 0..nodes {
        let options = Options { leases, call_budget: seconds(5), ..Options::default() };
        let limiter = Limiter::connect(&server.url(), options).await.unwrap();
        for number in 0..CALLERS_PER_NODE {
            let seed = node * CALLERS_PER_NODE + number;
            callers.push(tokio::spawn(caller(limiter.clone(), seed, Arc::clone(&limits), Arc::clone(&record))));
        }
        limiters.push(limiter);
    }
    let (began, started) = (clock(), Instant::now());
    while !is_enough(&record.admissions(), began) {
        assert!(started.elapsed() < seconds(30), "the limit was not in reach: {:?}", windows(&record.admissions()));
        assert!(callers.iter().all(|caller| !caller.is_finished()), "a caller has failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    record.stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let admissions = record.admissions();
    let leased: u64 = limiters.iter().map(|node| node.stats().leased).sum();
    let stats: Vec<Stats> = limiters.iter().map(Limiter::stats).collect();
    assert_eq!(leased > 0, leases == Leases::Automatic && !logs, "{stats:?}");
    admissions
}

async fn every_window_is_kept(nodes: u64, leases: Leases) {
    for limit in [fixed("second", LIMIT, seconds(1)), sliding("second", LIMIT, seconds(1))] {
        let overshoot = limit.max_overshoot();
        let windows = windows(&run(nodes, leases, limit).await);
        for (window, admitted) in &windows {
            assert!(*admitted <= LIMIT + overshoot, "{admitted} in {window:?} on {nodes} nodes, leases {leases:?}");
        }
    }
    let admissions = run(nodes, leases, log("second", LIMIT, seconds(1))).await;
    check_every_stretch(&admissions);
    let limit = bucket("steady", 10 * LIMIT, seconds(1), LIMIT);
    let overshoot = if leases == Leases::Automatic { limit.max_overshoot() } else { 0 };
    check_bucket(&run(nodes, leases, limit).await, 10 * LIMIT, LIMIT, overshoot);
}

macro_rules! histories {
    ($($name:ident: $nodes:literal, $leases:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            every_window_is_kept($nodes, Leases::$leases).await;
        }
    )*};
}

histories! {
    one_node_with_leases_keeps_every_window: 1, Automatic;
    three_nodes_with_leases_keep_every_window: 3, Automatic;
    eight_nodes_with_leases_keep_every_window: 8, Automatic;
    one_node_without_leases_keeps_every_window: 1, Off;
    three_nodes_without_leases_keep_every_window: 3, Off;
    eight_nodes_without_leases_keep_every_window: 8, Off;
}

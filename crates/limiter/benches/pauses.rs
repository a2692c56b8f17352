//! The longest single check while a million subjects come, while as many more push them out, and while another thread takes
//! snapshots. Of the thread's own time, and of the clock on the wall, which alone sees a wait for a lock but also whatever
//! else the machine does: so of each run's longest the shortest counts. Needs Linux.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops when it cannot be set up")]
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tollgate_limiter::{Check, HashKey, Limit, Limiter, Options, Progress, Quota, Subject, Timestamp, Window};

const SUBJECTS: usize = 1_000_000;
const RUNS: usize = 5;
/// A snapshot copies one after the other, each under its lock.
const SHARDS: f64 = 256.0;
const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// Nanoseconds of each check.
#[derive(Default)]
struct Times {
    own: Vec<u64>,
    wall: Vec<u64>,
}

/// Of one measure in one run, µs.
#[derive(Clone, Copy)]
struct Summary {
    high: f64,
    longest: f64,
}

fn own_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).cast_unsigned()
}

fn limits() -> [Limit; 2] {
    let quota = |seconds| Quota::sliding_window(1_000, Window::Every(Duration::from_secs(seconds))).expect("legal");
    [Limit::new("hour", quota(3_600)), Limit::new("day", quota(86_400))]
}

fn checked(limiter: &Limiter, limits: &[Limit], names: impl Iterator<Item = usize>) -> Times {
    let key = HashKey::new([7; 16]);
    let mut times = Times { own: Vec::with_capacity(SUBJECTS), wall: Vec::with_capacity(SUBJECTS) };
    for name in names {
        let subject = Subject::new(&key, &[name.to_le_bytes().as_slice()]);
        let (wall, own) = (Instant::now(), own_time());
        assert!(matches!(limiter.begin(&Check::new(subject, limits), NOW), Progress::Done(Ok(_))));
        times.own.push(own_time() - own);
        times.wall.push(u64::try_from(wall.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times
}

/// Checks of subjects that are held, while snapshots are taken one after the other.
fn while_snapshots_are_taken(limiter: &Limiter, limits: &[Limit], held: std::ops::Range<usize>) -> Times {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                limiter.snapshot(&mut std::io::sink()).expect("a snapshot");
            }
        });
        let times = checked(limiter, limits, held);
        done.store(true, Ordering::Relaxed);
        times
    })
}

fn summary(mut times: Vec<u64>) -> Summary {
    times.sort_unstable();
    let micros = |back: usize| times.iter().rev().nth(back).map_or(0.0, |nanos| *nanos as f64 / 1_000.0);
    Summary { high: micros(times.len() / 10_000), longest: micros(0) }
}

fn report(phase: &str, runs: impl Iterator<Item = Summary>, measure: &str) {
    let runs: Vec<Summary> = runs.collect();
    let least = |value: fn(&Summary) -> f64| runs.iter().map(value).fold(f64::INFINITY, f64::min);
    let longest: Vec<String> = runs.iter().map(|run| format!("{:.0}", run.longest)).collect();
    let (high, least) = (least(|run| run.high), least(|run| run.longest));
    println!("{phase:<12} {measure:<5} {high:>10.1} {least:>10.1}   of {}", longest.join(", "));
}

fn main() {
    let limits = limits();
    let mut locked = Vec::new();
    let mut phases = [("come", vec![]), ("push out", vec![]), ("snapshot", vec![])];
    for _ in 0..RUNS {
        let limiter = Limiter::memory(&Options { max_subjects: SUBJECTS, ..Options::default() });
        let come = checked(&limiter, &limits, 0..SUBJECTS);
        let push = checked(&limiter, &limits, SUBJECTS..2 * SUBJECTS);
        let snapshot = while_snapshots_are_taken(&limiter, &limits, SUBJECTS..2 * SUBJECTS);
        let before = own_time();
        limiter.snapshot(&mut std::io::sink()).expect("a snapshot");
        locked.push((own_time() - before) as f64 / 1_000.0 / SHARDS);
        for ((_, runs), Times { own, wall }) in phases.iter_mut().zip([come, push, snapshot]) {
            runs.push((summary(own), summary(wall)));
        }
    }
    println!("{:<12} {:<5} {:>10} {:>10}   µs", "subjects", "time", "p99.99", "longest");
    for (phase, runs) in &phases {
        report(phase, runs.iter().map(|(own, _)| *own), "own");
        report(phase, runs.iter().map(|(_, wall)| *wall), "wall");
    }
    let least = locked.iter().copied().fold(f64::INFINITY, f64::min);
    println!("a snapshot holds up the subjects of a shard for {least:.0} µs, its checksum included");
}

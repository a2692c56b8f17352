//! How many bytes a subject takes, in memory and on Redis, with one, two and eight limits, and with a log. Needs `redis-server` and Linux.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops when it cannot be set up")]
use std::{process::Command, time::Duration};

use tollgate_limiter::{
    Check, HashKey, Leases, Limit, Limiter, Options, Progress, Quota, Subject, TimeSource, Timestamp, Window,
};
use tollgate_test_servers::redis::Redis;

const SUBJECTS: u32 = 1_000_000;
const SUBJECTS_ON_REDIS: u32 = 100_000;
/// Names the variable by which this process is asked for one figure.
const MOMENTS: &str = "FOOTPRINT_MOMENTS";
const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

fn limits(count: u64) -> Vec<Limit> {
    let window = |number| Window::Every(Duration::from_secs(3_600 * number));
    let limit = |number| Limit::new(format!("l{number}"), Quota::sliding_window(1_000, window(number)).expect("legal"));
    (1..=count).map(limit).collect()
}

fn log() -> Vec<Limit> {
    vec![Limit::new("log", Quota::sliding_log(1_000, Duration::from_secs(3_600)).expect("legal"))]
}

fn subject(name: u32) -> Subject {
    Subject::new(&HashKey::new([7; 16]), &[name.to_le_bytes().as_slice()])
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4_096
}

/// Each of this many subjects is checked as often.
fn in_memory(limits: &[Limit], checks: u32) -> f64 {
    let subjects = SUBJECTS / checks;
    let limiter = Limiter::memory(&Options { max_subjects: 2_000_000, ..Options::default() });
    let before = resident();
    for (round, name) in (0..checks).flat_map(|round| (0..subjects).map(move |name| (round, name))) {
        let check = Check::new(subject(name), limits);
        assert!(matches!(limiter.begin(&check, moment(round)), Progress::Done(Ok(_))));
    }
    (resident() - before) as f64 / f64::from(subjects)
}

/// Of a log with this many moments, measured where no memory is left over from another measurement.
fn in_a_process(moments: u32) -> String {
    let this = std::env::current_exe().expect("a path");
    let output = Command::new(this).env(MOMENTS, moments.to_string()).output().expect("itself");
    String::from_utf8(output.stdout).expect("a number").trim().to_owned()
}

fn moment(round: u32) -> Timestamp {
    NOW.saturating_add(Duration::from_micros(round.into()))
}

async fn used(connection: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await.expect("INFO");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("used_memory");
    line.trim().parse().expect("a number")
}

async fn on_redis(url: &str, limits: &[Limit], checks: u32) -> f64 {
    let subjects = SUBJECTS_ON_REDIS / checks;
    let time = TimeSource::Caller;
    let options = Options { time, leases: Leases::Off, call_budget: Duration::from_secs(5), ..Options::default() };
    let limiter = Limiter::connect(url, options).await.expect("a limiter");
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("FLUSHALL");
    let before = used(&mut connection).await;
    for (round, first) in (0..checks).flat_map(|round| (0..subjects).step_by(500).map(move |first| (round, first))) {
        let some = first..subjects.min(first + 500);
        let checks = some.map(|name| limiter.check(Check::new(subject(name), limits), moment(round)));
        for decision in futures_util::future::join_all(checks).await {
            assert!(!decision.expect("a decision").degraded, "the store decides");
        }
    }
    (used(&mut connection).await - before) as f64 / f64::from(subjects)
}

#[tokio::main]
async fn main() {
    if let Some(moments) = std::env::var(MOMENTS).ok().and_then(|moments| moments.parse().ok()) {
        println!("{:.0}", in_memory(&log(), moments));
        return;
    }
    let server = Redis::start();
    let url = server.url();
    println!("{:>7} {:>10} {:>10}", "limits", "memory", "Redis");
    for count in [1, 2, 8] {
        let limits = limits(count);
        println!("{count:>7} {:>8.0} B {:>8.0} B", in_memory(&limits, 1), on_redis(&url, &limits, 1).await);
    }
    println!("{:>7}", "moments of a log");
    for moments in [1, 10, 100, 1_000] {
        let on_redis = on_redis(&url, &log(), moments).await;
        println!("{moments:>7} {:>8} B {on_redis:>8.0} B", in_a_process(moments));
    }
}

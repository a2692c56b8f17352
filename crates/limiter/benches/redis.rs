//! What a check costs on Redis: CPU of the server and of this process, compared with one call of a minimal script per check.
//! Needs `redis-server` (Debian package of that name). Prints a table; CPU time is steadier than throughput.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops when it cannot be set up")]
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tollgate_limiter::{Check, HashKey, Leases, Limit, Limiter, Options, Quota, Subject, Timestamp, Window};
use tollgate_test_servers::redis::Redis;

const SUBJECTS: usize = 100_000;
/// Subjects whose logs are filled.
const LONG_LOGS: usize = 500;
const WARM_UP: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(3);
/// A weighted two-window count as small as it can be: what every check would cost with a call of its own.
const MINIMAL: &str = r"
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local a, b, c = 0, 0, 0
local v = redis.call('GET', KEYS[1])
if v then a, b, c = struct.unpack('<ddd', v) end
local w, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local start = now - now % w
if a ~= start then b, c, a = a == start - w and c or 0, 0, start end
local used = math.ceil(b * (start + w - now) / w) + c
if used + 1 > limit then return {0, used} end
redis.call('SET', KEYS[1], struct.pack('<ddd', a, b, c + 1), 'PX', 7200000)
return {1, used + 1}";

async fn connect(url: &str) -> Option<MultiplexedConnection> {
    redis::Client::open(url).ok()?.get_multiplexed_async_connection().await.ok()
}

/// CPU seconds that the server has used.
async fn server_cpu(url: &str) -> f64 {
    let mut connection = connect(url).await.expect("a connection");
    let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut connection).await.expect("INFO");
    let seconds = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
    seconds("used_cpu_user:").unwrap_or(0.0) + seconds("used_cpu_sys:").unwrap_or(0.0)
}

/// CPU seconds that this process has used, in hundredths.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs `callers` of `one` for a while and prints what a check cost.
async fn measure<F>(name: &str, url: &str, callers: usize, one: impl Fn(usize) -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send,
{
    let (one, done, stop) = (Arc::new(one), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (one, done, stop) = (Arc::clone(&one), Arc::clone(&done), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut at = caller * 7_919;
                while !stop.load(Ordering::Relaxed) {
                    at = (at + 61_195) % SUBJECTS;
                    one(at).await;
                    // A check answered here does not yield.
                    tokio::task::coop::consume_budget().await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let before = (done.load(Ordering::Relaxed), server_cpu(url).await, own_cpu(), Instant::now());
    tokio::time::sleep(RUN).await;
    let checks = (done.load(Ordering::Relaxed) - before.0) as f64;
    let (redis, own) = (server_cpu(url).await - before.1, own_cpu() - before.2);
    let rate = checks / before.3.elapsed().as_secs_f64();
    println!("{name:<36} {callers:>4} {rate:>9.0}/s {:>8.2} {:>8.2}", redis / checks * 1e6, own / checks * 1e6);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("a caller");
    }
}

async fn minimal(url: &str, callers: usize) {
    let connection = connect(url).await.expect("a connection");
    let script = Arc::new(redis::Script::new(MINIMAL));
    measure("one minimal script call per check", url, callers, move |at| {
        let (mut connection, script) = (connection.clone(), Arc::clone(&script));
        async move {
            let key = format!("tg:{{0}}:s:{at:032x}");
            let mut call = script.key(key);
            let call = call.arg(3_600_000_000_u64).arg(1_000_000_000);
            call.invoke_async::<(i64, i64)>(&mut connection).await.expect("a reply");
        }
    })
    .await;
}

async fn limited(name: &str, url: &str, callers: usize, limits: Vec<Limit>, spread: usize, leases: Leases) {
    let options = Options { leases, call_budget: Duration::from_secs(5), ..Options::default() };
    let limiter = Limiter::connect(url, options).await.expect("a limiter");
    let (key, limits) = (HashKey::new([7; 16]), Arc::<[Limit]>::from(limits));
    let subjects: Arc<[Subject]> = (0..spread).map(|name| subject(&key, name)).collect();
    let observed = limiter.clone();
    measure(name, url, callers, move |at| {
        let (limiter, limits, subject) = (limiter.clone(), Arc::clone(&limits), subjects.get(at % spread).copied());
        async move {
            let check = Check::new(subject.expect("one of them"), &limits);
            let decision = limiter.check(check, Timestamp::default()).await.expect("a decision");
            assert!(!decision.degraded, "the store decides");
        }
    })
    .await;
    let stats = observed.stats();
    let checks = stats.exact + stats.leased + stats.refused_locally;
    println!("{:>53} {:.4} calls per check", "", stats.calls as f64 / checks as f64);
}

fn hourly(limit: u64) -> Limit {
    Limit::new("hour", Quota::sliding_window(limit, Window::Every(Duration::from_secs(3600))).expect("legal"))
}

fn bucket(limit: u64) -> Limit {
    Limit::new("bucket", Quota::token_bucket(limit, Duration::from_secs(3_600), limit).expect("legal"))
}

fn logged(limit: u64, window: Duration) -> Limit {
    Limit::new("log", Quota::sliding_log(limit, window).expect("legal"))
}

/// Has the logs of all subjects filled by this many checks.
async fn fill(url: &str, limits: &[Limit], checks: usize) {
    let options = Options { leases: Leases::Off, call_budget: Duration::from_secs(5), ..Options::default() };
    let limiter = Limiter::connect(url, options).await.expect("a limiter");
    let key = HashKey::new([7; 16]);
    for _ in 0..checks {
        let one = |name: usize| limiter.check(Check::new(subject(&key, name), limits), Timestamp::default());
        for decision in futures_util::future::join_all((0..LONG_LOGS).map(one)).await {
            assert!(decision.expect("a decision").allowed, "there is room");
        }
    }
}

fn subject(key: &HashKey, name: usize) -> Subject {
    Subject::new(key, &[name.to_le_bytes().as_slice()])
}

fn daily(limit: u64) -> Limit {
    Limit::new("day", Quota::fixed_window(limit, Window::Every(Duration::from_secs(86_400))).expect("legal"))
}

/// Logs that are empty before a check, and of this many units and more.
async fn logs(callers: usize) {
    for (units, name) in [(0, "a log of one unit"), (100, "a log of 100 units"), (500, "a log of 500 units and more")] {
        let server = Redis::start();
        let limits = vec![logged(1_000, Duration::from_secs(if units > 0 { 3_600 } else { 1 }))];
        fill(&server.url(), &limits, units).await;
        let subjects = if units > 0 { LONG_LOGS } else { SUBJECTS };
        limited(name, &server.url(), callers, limits, subjects, Leases::Off).await;
    }
}

#[tokio::main]
async fn main() {
    println!("{:<36} {:>4} {:>11} {:>8} {:>8}", "µs of CPU per check", "", "", "Redis", "here");
    let large = 1_000_000_000;
    for callers in [64, 256] {
        let server = Redis::start();
        minimal(&server.url(), callers).await;
        limited(
            "one limit, 100,000 subjects",
            &server.url(),
            callers,
            vec![hourly(large)],
            SUBJECTS,
            Leases::Automatic,
        )
        .await;
        let two = vec![hourly(large), daily(large)];
        limited("two limits, 100,000 subjects", &server.url(), callers, two, SUBJECTS, Leases::Automatic).await;
        let bucket = vec![bucket(large)];
        limited("one bucket, 100,000 subjects", &server.url(), callers, bucket, SUBJECTS, Leases::Automatic).await;
        limited("one hot subject, exact", &server.url(), callers, vec![hourly(large)], 1, Leases::Off).await;
        limited("one hot subject", &server.url(), callers, vec![hourly(large)], 1, Leases::Automatic).await;
        limited("one subject over its limit", &server.url(), callers, vec![daily(10)], 1, Leases::Automatic).await;
        logs(callers).await;
    }
}

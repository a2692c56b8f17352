//! `make bench`: what a check costs, embedded and on Redis, beside a bare axum handler, in one run on this machine.
//!
//! The server under load has core 0; the generator, Redis, PostgreSQL and the worker share core 1 (this process is started
//! there and they inherit it). All servers stay up and take turns, so a slow minute of the machine hits all of them.

use std::{
    net::SocketAddr,
    process::{Child, Stdio},
    rc::Rc,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tollgate_domain::Clock;
use tollgate_tests::{
    answer::{Answer, Client},
    load::{self, Seen, cpu},
    postgres::{Database, Postgres},
    process::{Process, pinned},
    redis::Redis,
    wait::{eventually_blocking, free_port},
};

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 64;
/// Unless the first argument says. Each active key has rows of its own in every batch of usage, so their number is a cost.
const KEYS: usize = 1_000;
const SERVER_CORE: u32 = 0;

/// Something to put under load, and what it cost in each round.
struct Target {
    name: &'static str,
    address: SocketAddr,
    server: u32,
    store: Option<u32>,
    requests: Rc<Vec<Vec<u8>>>,
    rounds: Vec<Round>,
}

struct Round {
    seen: Seen,
    server: f64,
    store: f64,
}

/// The bare handler's process, killed on drop.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A service in one shape with all that it stands on.
struct Shape {
    api: Process,
    _worker: Option<Process>,
    redis: Option<Redis>,
    _database: Option<(Database, Postgres)>,
    _dir: TempDir,
    keys: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let keys = std::env::args().nth(1).map_or(KEYS, |count| count.parse().expect("a number of keys"));
    let embedded = embedded(keys).await;
    let production = production(keys).await;
    let answer = validate(&embedded).await;
    let dir = TempDir::new().expect("a temporary folder");
    let same_body = bare(&dir, "body", &answer, &["content-type"]);
    let kept: Vec<_> =
        answer.headers.keys().map(|name| name.as_str()).filter(|name| !OF_HYPER.contains(name)).collect();
    let same_bytes = bare(&dir, "bytes", &answer, &kept);
    let requests = |shape: &Shape| Rc::new(load::requests(&shape.keys));
    let mut targets = vec![
        Target::new("bare axum handler, same body", same_body.1, same_body.0.0.id(), None, requests(&embedded)),
        Target::new(
            "bare axum handler, same body and headers",
            same_bytes.1,
            same_bytes.0.0.id(),
            None,
            requests(&embedded),
        ),
        Target::new("embedded: SQLite, memory", address(&embedded.api), embedded.api.pid(), None, requests(&embedded)),
    ];
    if let Some(shape) = &production {
        let redis = shape.redis.as_ref().map(Redis::pid);
        targets.push(Target::new(
            "production: PostgreSQL, Redis",
            address(&shape.api),
            shape.api.pid(),
            redis,
            requests(shape),
        ));
    }
    for target in &targets {
        load::drive(target.address, Rc::clone(&target.requests), CONNECTIONS, WARM_UP).await.expect("a warm-up");
    }
    for _ in 0..ROUNDS {
        for target in &mut targets {
            target.measure().await;
        }
    }
    print(&targets, keys);
}

/// Headers that hyper writes by itself.
const OF_HYPER: [&str; 3] = ["content-length", "date", "connection"];

impl Target {
    fn new(
        name: &'static str,
        address: SocketAddr,
        server: u32,
        store: Option<u32>,
        requests: Rc<Vec<Vec<u8>>>,
    ) -> Self {
        Self { name, address, server, store, requests, rounds: Vec::new() }
    }

    async fn measure(&mut self) {
        let cpus = || (cpu(self.server), self.store.map(cpu).unwrap_or_default());
        let before = cpus();
        let seen =
            load::drive(self.address, Rc::clone(&self.requests), CONNECTIONS, SPAN).await.expect("a round of load");
        let after = cpus();
        assert_eq!(seen.failed, 0, "{}: every check of the benchmark is allowed", self.name);
        let per_million = |used: Duration| used.as_secs_f64() * 1e6 / seen.answers as f64;
        let (server, store) = (per_million(after.0 - before.0), per_million(after.1 - before.1));
        self.rounds.push(Round { seen, server, store });
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<_> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

fn print(targets: &[Target], keys: usize) {
    let machine = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = machine.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    println!(
        "{}, `make bench`, {}",
        Clock::System.now().format("%Y-%m-%d"),
        model.trim_start_matches([' ', '\t', ':'])
    );
    println!(
        "{keys} keys, {CONNECTIONS} connections, server on one core; median of {ROUNDS} rounds of {} s\n",
        SPAN.as_secs()
    );
    println!("| validate | requests/s | p50 | p99 | server CPU s per million | × bare | Redis CPU s per million |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let bare = targets[0].median(|round| round.server);
    for target in targets {
        let millis = |of: fn(&Seen) -> Duration| target.median(|round| of(&round.seen).as_secs_f64() * 1e3);
        let server = target.median(|round| round.server);
        let store = target.store.map_or("-".into(), |_| format!("{:.2}", target.median(|round| round.store)));
        println!(
            "| {} | {:.0} | {:.2} ms | {:.2} ms | {server:.2} | {:.2} | {store} |",
            target.name,
            target.median(|round| round.seen.per_second),
            millis(|seen| seen.p50),
            millis(|seen| seen.p99),
            server / bare,
        );
    }
}

async fn embedded(count: usize) -> Shape {
    let dir = TempDir::new().expect("a temporary folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut api = Process::api(&[
        ("database.url", &format!("sqlite://{}", path("tollgate.db"))),
        ("limiter.snapshot", &path("limiter.snapshot")),
        ("journal.dir", &path("journal")),
        ("log.format", "json"),
    ])
    .pinned_to(SERVER_CORE);
    api.start_ready().await;
    let keys = keys(&api.admin(), count).await;
    Shape { api, _worker: None, redis: None, _database: None, _dir: dir, keys }
}

/// None, said aloud, where PostgreSQL or Redis is not installed.
async fn production(count: usize) -> Option<Shape> {
    if !(Postgres::is_installed() && Redis::is_installed()) {
        eprintln!("PostgreSQL or Redis is not installed: the production shape is not measured");
        return None;
    }
    let (postgres, redis, dir) = (Postgres::start().await, Redis::start(), TempDir::new().expect("a temporary folder"));
    let database = postgres.database().await;
    let (database_url, journal) = (database.url(), dir.path().join("journal").display().to_string());
    let (limiter, queue) = (redis.url(0), redis.url(1));
    let settings = [
        ("database.url", database_url.as_str()),
        ("limiter.url", &limiter),
        ("queue.url", &queue),
        ("journal.dir", &journal),
        ("worker.in_process", "false"),
        ("log.format", "json"),
    ];
    let mut api = Process::api(&settings).pinned_to(SERVER_CORE);
    api.start_ready().await;
    let mut worker = Process::worker(&settings);
    worker.start_ready().await;
    let keys = keys(&api.admin(), count).await;
    Some(Shape {
        api,
        _worker: Some(worker),
        redis: Some(redis),
        _database: Some((database, postgres)),
        _dir: dir,
        keys,
    })
}

/// Keys of a plan that refuses nothing within a benchmark.
async fn keys(admin: &Client, count: usize) -> Vec<String> {
    let plan = json!({
        "name": "bench",
        "limits": [{"name": "per-hour", "limit": 1_000_000_000, "window": 3_600}],
        "quota": {"limit": 1_000_000_000_000_u64, "overage": "bill"},
        "prices": {"currency": "USD", "base": "0", "overage_unit": "0"},
    });
    admin.post("/api/v1/plans", &plan).await.expect(201);
    let mut keys = Vec::with_capacity(count);
    for number in 0..count {
        let key = admin.post("/api/v1/api-keys", &json!({"name": format!("bench {number}"), "tier": "bench"})).await;
        keys.push(key.expect(201).data()["key"].as_str().expect("a new key's secret").to_owned());
    }
    keys
}

async fn validate(shape: &Shape) -> Answer {
    let client = shape.api.client().with_credential(&shape.keys[0]);
    let body = json!({"endpoint": "/v1/messages", "method": "POST"});
    client.post("/api/public/v1/rate-limit/validate", &body).await.expect(200)
}

fn bare(dir: &TempDir, name: &str, answer: &Answer, headers: &[&str]) -> (Bare, SocketAddr) {
    let file = |end: &str, text: &str| {
        let path = dir.path().join(format!("{name}.{end}"));
        std::fs::write(&path, text).expect("a temporary file");
        path
    };
    let lines: Vec<_> = headers.iter().map(|header| format!("{header}: {}", answer.header(header))).collect();
    let (body, head, port) = (file("body", &answer.text), file("headers", &lines.join("\n")), free_port());
    let child = pinned(SERVER_CORE, "bare").arg(port.to_string()).arg(body).arg(head).stdin(Stdio::null()).spawn();
    let bare = Bare(child.expect("taskset starts the bare handler"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually_blocking("the bare handler listens", Duration::from_secs(10), || {
        std::net::TcpStream::connect(address).ok()
    });
    (bare, address)
}

fn address(api: &Process) -> SocketAddr {
    api.client().base().trim_start_matches("http://").parse().expect("an address and a port")
}

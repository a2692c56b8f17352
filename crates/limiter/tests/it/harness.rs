//! A store of each kind with a clock that the test sets, and a Redis server of the test's own.
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tollgate_limiter::{
    Check, Decision, Floor, HashKey, Leases, Limit, Limiter, Options, Quota, Subject, TimeSource, Timestamp, Window,
};

/// 2026-01-01T00:00:00Z, and the start of a window of every length the tests use.
pub(crate) const NEW_YEAR: i64 = 1_767_225_600_000_000;

pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    dir: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// A server on a free port, ready to answer.
    pub(crate) async fn start() -> Self {
        let mut server = Self::launch(&[]);
        server.wait_until_ready().await;
        server
    }

    /// A server on a free port, with further arguments; not ready yet, and perhaps not a plain one.
    pub(crate) fn launch(arguments: &[&str]) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { child: spawn(port, &dir, &arguments), port, dir, arguments }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Sends `signal`, such as `STOP`, to the server.
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.dir, &self.arguments);
        self.wait_until_ready().await;
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        for _ in 0..500 {
            let client = redis::Client::open(self.url()).unwrap();
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("redis-server did not answer within 5 s");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, dir: &TempDir, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // A configuration file has to be the first argument.
    let (file, options) =
        arguments.split_at(usize::from(arguments.first().is_some_and(|first| !first.starts_with('-'))));
    command
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(dir.path());
    match command.args(options).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("redis-server is not installed: install the Debian package redis-server")
        }
        Err(error) => panic!("redis-server does not start: {error}"),
    }
}

/// A limiter and the clock its callers read.
pub(crate) struct Store {
    pub(crate) limiter: Limiter,
    _server: Option<RedisServer>,
    now: AtomicI64,
}

impl Store {
    pub(crate) async fn memory() -> Self {
        Self::new(Limiter::connect("memory:", Options::default()).await.unwrap(), None)
    }

    pub(crate) async fn redis() -> Self {
        Self::redis_with(Leases::Automatic).await
    }

    pub(crate) async fn redis_with(leases: Leases) -> Self {
        let server = RedisServer::start().await;
        // A shared machine may be slow to schedule a child: the tests of the budget set their own.
        let options = Options { time: TimeSource::Caller, leases, call_budget: seconds(5), ..Options::default() };
        Self::new(Limiter::connect(&server.url(), options).await.unwrap(), Some(server))
    }

    fn new(limiter: Limiter, server: Option<RedisServer>) -> Self {
        Self { limiter, _server: server, now: AtomicI64::new(NEW_YEAR) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.now.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) async fn check(&self, subject: Subject, limits: &[Limit], cost: u32) -> Decision {
        let decision = self.decide(Check::new(subject, limits).with_cost(cost)).await;
        assert!(!decision.degraded);
        decision
    }

    pub(crate) async fn check_with(&self, subject: Subject, limits: &[Limit], floors: &[Floor]) -> Decision {
        self.decide(Check::new(subject, limits).with_floors(floors)).await
    }

    pub(crate) async fn decide(&self, check: Check<'_>) -> Decision {
        self.limiter.check(check, self.now()).await.unwrap()
    }

    pub(crate) async fn peek(&self, check: Check<'_>) -> Decision {
        self.limiter.peek(check, self.now()).await.unwrap()
    }

    /// How many of `tries` checks of cost 1 are let through.
    pub(crate) async fn admitted(&self, subject: Subject, limits: &[Limit], tries: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..tries {
            admitted += u32::from(self.check(subject, limits, 1).await.allowed);
        }
        admitted
    }
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(&HashKey::new([7; 16]), &[b"test", name.as_bytes()])
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn sliding(name: &str, limit: u64, window: Duration) -> Limit {
    Limit::new(name, Quota::sliding_window(limit, Window::Every(window)).unwrap())
}

pub(crate) fn log(name: &str, limit: u64, window: Duration) -> Limit {
    Limit::new(name, Quota::sliding_log(limit, window).unwrap())
}

pub(crate) fn fixed(name: &str, limit: u64, window: Duration) -> Limit {
    Limit::new(name, Quota::fixed_window(limit, Window::Every(window)).unwrap())
}

pub(crate) fn bucket(name: &str, limit: u64, window: Duration, burst: u64) -> Limit {
    Limit::new(name, Quota::token_bucket(limit, window, burst).unwrap())
}

pub(crate) fn concurrency(name: &str, limit: u64, life: Duration) -> Limit {
    Limit::new(name, Quota::concurrency(limit, life).unwrap())
}

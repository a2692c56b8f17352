//! A store of each kind with a clock that the test sets.
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tollgate_limiter::{
    Check, Decision, Floor, HashKey, Leases, Limit, Limiter, Options, Quota, Subject, TimeSource, Timestamp, Window,
};
use tollgate_test_servers::redis::Redis;

/// 2026-01-01T00:00:00Z, and the start of a window of every length the tests use.
pub(crate) const NEW_YEAR: i64 = 1_767_225_600_000_000;

/// A limiter and the clock its callers read.
pub(crate) struct Store {
    pub(crate) limiter: Limiter,
    _server: Option<Redis>,
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
        let server = Redis::start();
        // A shared machine may be slow to schedule a child: the tests of the budget set their own.
        let options = Options { time: TimeSource::Caller, leases, call_budget: seconds(5), ..Options::default() };
        Self::new(Limiter::connect(&server.url(), options).await.unwrap(), Some(server))
    }

    fn new(limiter: Limiter, server: Option<Redis>) -> Self {
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

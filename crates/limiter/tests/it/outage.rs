//! Redis stopped, killed, restarted or stripped of its scripts: every answer comes in time and says how it came about.
use std::time::{Duration, Instant};

use tollgate_limiter::{Check, Decision, Error, Limit, Limiter, OnFailure, Options, Source, Timestamp};

use crate::harness::{NEW_YEAR, RedisServer, fixed, seconds, subject};

/// No check may take longer, whatever Redis does.
const PATIENCE: Duration = Duration::from_millis(250);
/// From the server's return to exact answers.
const RECOVERY: Duration = Duration::from_secs(6);

async fn limiter(server: &RedisServer) -> Limiter {
    Limiter::connect(&server.url(), Options::default()).await.unwrap()
}

fn hourly(on_failure: OnFailure) -> [Limit; 1] {
    [fixed("century", 1_000_000, seconds(3_000 * 86_400)).with_on_failure(on_failure)]
}

async fn check(limiter: &Limiter, limits: &[Limit]) -> Result<Decision, Error> {
    let started = Instant::now();
    let outcome = limiter.check(Check::new(subject("a"), limits), Timestamp::from_micros(NEW_YEAR)).await;
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    outcome
}

async fn until_exact(limiter: &Limiter) {
    let started = Instant::now();
    while check(limiter, &hourly(OnFailure::Local)).await.unwrap().source != Source::Exact {
        assert!(started.elapsed() < RECOVERY, "not exact {:?} after the server came back", started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn every_policy_is_honoured(limiter: &Limiter) {
    let local = check(limiter, &hourly(OnFailure::Local)).await.unwrap();
    assert!(local.allowed && local.degraded);
    assert_eq!(local.source, Source::Local);
    let open = check(limiter, &hourly(OnFailure::Allow)).await.unwrap();
    assert!(open.allowed && open.degraded);
    assert_eq!(open.source, Source::Open);
    let denied = check(limiter, &hourly(OnFailure::Deny)).await;
    assert!(matches!(denied, Err(Error::Unavailable { retry_after }) if retry_after > Duration::ZERO));
}

#[tokio::test]
async fn a_killed_redis_is_survived_and_its_return_noticed() {
    let mut server = RedisServer::start().await;
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    server.kill();
    for _ in 0..20 {
        every_policy_is_honoured(&limiter).await;
    }
    assert!(limiter.ping().await.is_err());
    assert!(limiter.stats().breaker_open);
    server.restart().await;
    until_exact(&limiter).await;
    assert!(!limiter.stats().breaker_open);
    assert!(limiter.ping().await.is_ok());
}

#[tokio::test]
async fn a_frozen_redis_is_survived_and_its_return_noticed() {
    let server = RedisServer::start().await;
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    server.signal("STOP");
    let frozen = Instant::now();
    let mut slow = 0;
    while frozen.elapsed() < Duration::from_secs(3) {
        let started = Instant::now();
        every_policy_is_honoured(&limiter).await;
        slow += u32::from(started.elapsed() > Duration::from_millis(40) && frozen.elapsed() > Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(slow, 0, "an open breaker answers at once");
    server.signal("CONT");
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_no_error() {
    let mut server = RedisServer::start().await;
    server.kill();
    let limiter = limiter(&server).await;
    every_policy_is_honoured(&limiter).await;
    server.restart().await;
    until_exact(&limiter).await;
}

#[tokio::test]
async fn forgotten_scripts_are_not_noticed() {
    let server = RedisServer::start().await;
    let options = Options { call_budget: Duration::from_secs(5), ..Options::default() };
    let limiter = Limiter::connect(&server.url(), options).await.unwrap();
    let mut connection = server.connection().await;
    for used in 1..=20 {
        let decision =
            limiter.check(Check::new(subject("a"), &hourly(OnFailure::Deny)), Timestamp::default()).await.unwrap();
        assert_eq!(decision.limits[0].used(), used);
        redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await.unwrap();
    }
    assert_eq!(limiter.stats().failed_calls, 0);
}

#[tokio::test]
async fn a_value_of_another_kind_is_written_over() {
    let server = RedisServer::start().await;
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    let mut connection = server.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("tg:*:s:*").query_async(&mut connection).await.unwrap();
    for command in ["DEL", "LPUSH"] {
        redis::cmd(command).arg(&keys[0]).arg("not ours").query_async::<()>(&mut connection).await.unwrap();
    }
    let decision = check(&limiter, &hourly(OnFailure::Local)).await.unwrap();
    assert_eq!((decision.source, decision.limits[0].used()), (Source::Exact, 1));
}

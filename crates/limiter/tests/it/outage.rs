//! Redis stopped, killed, restarted or stripped of its scripts: every answer comes in time and says how it came about.
use std::time::{Duration, Instant};

use tollgate_limiter::{
    Check, Decision, Error, Leases, Limit, Limiter, OnFailure, Options, Source, StoreFault, Timestamp,
};
use tollgate_test_servers::redis::Redis;
use tollgate_test_servers::wait::{ends_within_promise, within_promise};

use crate::harness::{NEW_YEAR, fixed, seconds, subject};
use crate::proxy::Proxy;

/// No check may take longer, whatever Redis does.
const PATIENCE: Duration = Duration::from_millis(250);
/// From the server's return to exact answers.
const RECOVERY: Duration = Duration::from_secs(6);

async fn limiter(server: &Redis) -> Limiter {
    // A slice in hand would rightly go on answering for up to 100 ms.
    let options = Options { leases: Leases::Off, ..Options::default() };
    Limiter::connect(&server.url(), options).await.unwrap()
}

fn hourly(on_failure: OnFailure) -> [Limit; 1] {
    [fixed("century", 1_000_000, seconds(3_000 * 86_400)).with_on_failure(on_failure)]
}

async fn check(limiter: &Limiter, limits: &[Limit]) -> Result<Decision, Error> {
    let check = limiter.check(Check::new(subject("a"), limits), Timestamp::from_micros(NEW_YEAR));
    ends_within_promise("a check", PATIENCE, check).await
}

async fn until_exact(limiter: &Limiter) {
    within_promise("the store decides", RECOVERY, async || {
        (check(limiter, &hourly(OnFailure::Local)).await.unwrap().source == Source::Exact).then_some(())
    })
    .await;
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
    let mut server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    server.stop();
    for _ in 0..20 {
        every_policy_is_honoured(&limiter).await;
    }
    assert!(limiter.ping().await.is_err());
    assert!(limiter.stats().breaker_open);
    server.restart();
    until_exact(&limiter).await;
    assert!(!limiter.stats().breaker_open);
    assert!(limiter.ping().await.is_ok());
}

#[tokio::test]
async fn what_was_decided_without_redis_is_undone_and_looked_at_without_it() {
    let mut server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    server.stop();
    let (limits, now) = (hourly(OnFailure::Local), Timestamp::from_micros(NEW_YEAR));
    let unit = Check::new(subject("a"), &limits);
    let before = limiter.peek(unit, now).await.unwrap();
    assert!(before.allowed && before.degraded && before.source == Source::Local);
    let decision = check(&limiter, &limits).await.unwrap();
    assert_eq!((decision.source, decision.limits[0].used()), (Source::Local, before.limits[0].used() + 1));
    limiter.undo(unit, &decision, now).await.unwrap();
    assert_eq!(limiter.peek(unit, now).await.unwrap(), before);
    let denied = hourly(OnFailure::Deny);
    assert!(limiter.peek(Check::new(subject("a"), &denied), now).await.is_err());
}

#[tokio::test]
async fn a_frozen_redis_is_survived_and_its_return_noticed() {
    let server = Redis::start();
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
    let mut server = Redis::start();
    server.stop();
    let limiter = limiter(&server).await;
    every_policy_is_honoured(&limiter).await;
    server.restart();
    until_exact(&limiter).await;
}

#[tokio::test]
async fn forgotten_scripts_are_not_noticed() {
    let server = Redis::start();
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
    let server = Redis::start();
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

/// Runs `commands` on the server, one per line.
async fn tell(server: &Redis, commands: &str) {
    let mut connection = server.connection().await;
    for line in commands.lines() {
        tell_over(&mut connection, line).await;
    }
}

async fn tell_over(connection: &mut redis::aio::MultiplexedConnection, line: &str) {
    let mut words = line.split_whitespace();
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async::<()>(connection).await.unwrap();
}

/// Injects a fault, sees every check answered in time and the fault named, puts it right and sees exact answers again.
async fn a_fault_is_survived(inject: &str, fault: StoreFault, cure: &str) {
    let server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    tell(&server, inject).await;
    until_seen(&limiter, &[fault]).await;
    every_policy_is_honoured(&limiter).await;
    tell(&server, cure).await;
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_survived() {
    a_fault_is_survived("REPLICAOF 127.0.0.1 1", StoreFault::ReadOnly, "REPLICAOF NO ONE").await;
}

#[tokio::test]
async fn a_server_without_memory_is_survived() {
    let full = "CONFIG SET maxmemory-policy noeviction\nCONFIG SET maxmemory 1mb";
    a_fault_is_survived(full, StoreFault::OutOfMemory, "CONFIG SET maxmemory 0").await;
}

#[tokio::test]
async fn a_server_without_its_replicas_is_survived() {
    let lonely = "CONFIG SET min-replicas-to-write 1";
    a_fault_is_survived(lonely, StoreFault::TooFewReplicas, "CONFIG SET min-replicas-to-write 0").await;
}

/// Checks until the fault is seen; every check meanwhile is answered in time.
async fn until_seen(limiter: &Limiter, faults: &[StoreFault]) {
    within_promise(&format!("{faults:?} are seen"), Duration::from_secs(5), async || {
        check(limiter, &hourly(OnFailure::Local)).await.unwrap();
        limiter.stats().fault.filter(|fault| faults.contains(fault)).map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_save_is_survived() {
    let server = Redis::start_with(&["--enable-protected-configs", "yes"]);
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    let folder = tempfile::tempdir().unwrap();
    tell(&server, &format!("CONFIG SET dir {}", folder.path().display())).await;
    drop(folder);
    let mut connection = server.connection().await;
    redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1").query_async::<()>(&mut connection).await.unwrap();
    tell(&server, "BGSAVE").await;
    until_seen(&limiter, &[StoreFault::CannotSave]).await;
    every_policy_is_honoured(&limiter).await;
    tell(&server, "CONFIG SET stop-writes-on-bgsave-error no").await;
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_is_survived() {
    let server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    let mut connection = server.connection().await;
    tell_over(&mut connection, "CONFIG SET requirepass secret").await;
    tell_over(&mut connection, "CLIENT KILL TYPE normal SKIPME yes").await;
    until_seen(&limiter, &[StoreFault::NotPermitted]).await;
    every_policy_is_honoured(&limiter).await;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("").query_async::<()>(&mut connection).await.unwrap();
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_survived() {
    let server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    let mut connection = server.connection().await;
    tell_over(&mut connection, "CONFIG SET maxclients 1").await;
    tell_over(&mut connection, "CLIENT KILL TYPE normal SKIPME yes").await;
    // The server says so and hangs up: which of the two is read first is a matter of luck.
    until_seen(&limiter, &[StoreFault::TooManyClients, StoreFault::Unreachable]).await;
    every_policy_is_honoured(&limiter).await;
    tell_over(&mut connection, "CONFIG SET maxclients 100").await;
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_server_that_runs_an_endless_script_is_survived() {
    let server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    tell(&server, "CONFIG SET busy-reply-threshold 100").await;
    let mut connection = server.connection().await;
    let mut endless = redis::cmd("EVAL");
    endless.arg("while true do end").arg(0);
    let endless = tokio::spawn(async move { endless.query_async::<()>(&mut connection).await });
    until_seen(&limiter, &[StoreFault::Busy]).await;
    every_policy_is_honoured(&limiter).await;
    tell(&server, "SCRIPT KILL").await;
    assert!(endless.await.unwrap().is_err());
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_slow_server_opens_the_breaker_within_a_second() {
    let server = Redis::start();
    let proxy = Proxy::start(server.port()).await;
    let limiter = Limiter::connect(&proxy.url(), Options::default()).await.unwrap();
    until_exact(&limiter).await;
    proxy.delay(Duration::from_millis(200));
    let slowed = Instant::now();
    while !limiter.stats().breaker_open {
        check(&limiter, &hourly(OnFailure::Local)).await.unwrap();
        assert!(slowed.elapsed() < Duration::from_millis(1_500), "{:?}", limiter.stats());
    }
    for _ in 0..100 {
        let started = Instant::now();
        every_policy_is_honoured(&limiter).await;
        assert!(started.elapsed() < Duration::from_millis(30), "an open breaker answers at once");
    }
    proxy.delay(Duration::ZERO);
    until_exact(&limiter).await;
}

#[tokio::test]
async fn a_connection_into_a_black_hole_is_replaced_within_two_seconds() {
    let server = Redis::start();
    let proxy = Proxy::start(server.port()).await;
    let limiter = Limiter::connect(&proxy.url(), Options::default()).await.unwrap();
    until_exact(&limiter).await;
    let before = proxy.accepted();
    proxy.swallow(true);
    within_promise("the connection is replaced", Duration::from_secs(2), async || {
        check(&limiter, &hourly(OnFailure::Local)).await.unwrap();
        (proxy.accepted() > before).then_some(())
    })
    .await;
    proxy.swallow(false);
    until_exact(&limiter).await;
}

#[tokio::test]
async fn one_blip_does_not_open_the_breaker() {
    let server = Redis::start();
    let limiter = limiter(&server).await;
    until_exact(&limiter).await;
    let mut connection = server.connection().await;
    for _ in 0..3 {
        tell_over(&mut connection, "CLIENT PAUSE 60000 WRITE").await;
        assert!(check(&limiter, &hourly(OnFailure::Local)).await.unwrap().degraded);
        tell_over(&mut connection, "CLIENT UNPAUSE").await;
        until_exact(&limiter).await;
    }
    assert_eq!(limiter.stats().breaker_opens, 0);
}

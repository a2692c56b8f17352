//! Totals pushed into counters: those that are behind are raised, whatever made them so, and the others cost no decision.
use tollgate_limiter::{Check, Limit, Limiter, Options, Raise, Timestamp};
use tollgate_test_servers::redis::Redis;

use crate::harness::{bucket, fixed, seconds, sliding, subject};
use crate::topology::cluster;

const SUBJECTS: u64 = 300;
const CENTURY: u64 = 3_000 * 86_400;

fn limits() -> [Limit; 3] {
    [sliding("day", 1_000, seconds(86_400)), fixed("quota", 1_000, seconds(CENTURY)), bucket("b", 9, seconds(9), 9)]
}

/// Pushes as many units as the subject's number says, and some more.
async fn push(limiter: &Limiter, more: u64) {
    let limits = limits();
    let now = Timestamp::default();
    let raise = |number: u64| Raise {
        subject: subject(&number.to_string()),
        limits: &limits,
        limit_index: 1,
        period_start: limits[1].quota().window().period(Timestamp::from_seconds(1_800_000_000)).start,
        used: number + more,
    };
    let raises: Vec<_> = (0..SUBJECTS).map(raise).collect();
    limiter.raise(&raises, now).await.unwrap();
}

async fn used(limiter: &Limiter, number: u64) -> u64 {
    let check = |limits| Check::new(subject(&number.to_string()), limits).with_cost(0);
    limiter.check(check(&limits()), Timestamp::default()).await.unwrap().limits[1].used()
}

fn options() -> Options {
    Options { call_budget: seconds(5), ..Options::default() }
}

async fn flush(server: &Redis) {
    redis::cmd("FLUSHALL").query_async::<()>(&mut server.connection().await).await.unwrap();
}

async fn only_counters_that_are_behind_cost_a_decision(limiter: &Limiter, servers: &[Redis]) {
    push(limiter, 1).await;
    let raised = limiter.stats().calls;
    assert!(raised > 0);
    push(limiter, 1).await;
    push(limiter, 0).await;
    assert_eq!(limiter.stats().calls, raised);
    for number in [0, 7, SUBJECTS - 1] {
        assert_eq!(used(limiter, number).await, number + 1);
    }
    let before = limiter.stats().calls;
    for server in servers {
        flush(server).await;
    }
    push(limiter, 2).await;
    assert!(limiter.stats().calls > before);
    for number in [0, 7, SUBJECTS - 1] {
        assert_eq!(used(limiter, number).await, number + 2);
    }
    assert_eq!(limiter.stats().failed_calls, 0);
}

#[tokio::test]
async fn only_counters_that_are_behind_cost_a_decision_on_redis() {
    let server = Redis::start();
    let limiter = Limiter::connect(&server.url(), options()).await.unwrap();
    only_counters_that_are_behind_cost_a_decision(&limiter, &[server]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_counters_that_are_behind_cost_a_decision_on_a_cluster() {
    let nodes = cluster().await;
    let url = format!("redis-cluster://127.0.0.1:{}", nodes[0].port());
    let limiter = Limiter::connect(&url, options()).await.unwrap();
    only_counters_that_are_behind_cost_a_decision(&limiter, &nodes).await;
}

#[tokio::test]
async fn a_counter_in_the_place_of_something_else_is_raised() {
    let server = Redis::start();
    let limiter = Limiter::connect(&server.url(), options()).await.unwrap();
    push(&limiter, 1).await;
    let mut connection = server.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("tg:*:s:*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len() as u64, SUBJECTS);
    for (number, key) in keys.iter().enumerate() {
        redis::cmd("DEL").arg(key).query_async::<()>(&mut connection).await.unwrap();
        let command = if number % 2 == 0 { "LPUSH" } else { "APPEND" };
        redis::cmd(command).arg(key).arg("\u{1}\u{1}not ours").query_async::<()>(&mut connection).await.unwrap();
    }
    push(&limiter, 1).await;
    for number in 0..SUBJECTS {
        assert_eq!(used(&limiter, number).await, number + 1);
    }
}

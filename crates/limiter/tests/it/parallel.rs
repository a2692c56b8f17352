//! Many callers at once: never more than the limit, and never less.
use std::sync::Arc;

use tollgate_limiter::{Check, Leases, Limit, Limiter, Options, Stats, Timestamp};
use tollgate_test_servers::redis::Redis;

use crate::harness::{NEW_YEAR, fixed, log, seconds, sliding, subject};

const CALLERS: usize = 32;
const CHECKS_PER_CALLER: usize = 100;

/// How many of the callers' checks are admitted over several limiters on one store, and how many were not exact.
async fn admitted(limiters: Vec<Limiter>, limits: Arc<[Limit]>) -> (usize, usize) {
    let callers = (0..CALLERS).map(|caller| {
        let (limiter, limits) = (limiters[caller % limiters.len()].clone(), Arc::clone(&limits));
        tokio::spawn(async move {
            let (mut admitted, mut degraded) = (0, 0);
            for _ in 0..CHECKS_PER_CALLER {
                let check = Check::new(subject("shared"), &limits);
                let decision = limiter.check(check, Timestamp::from_micros(NEW_YEAR)).await.unwrap();
                admitted += usize::from(decision.allowed);
                degraded += usize::from(decision.degraded);
            }
            (admitted, degraded)
        })
    });
    let mut sum = (0, 0);
    for caller in callers.collect::<Vec<_>>() {
        let (admitted, degraded) = caller.await.unwrap();
        sum = (sum.0 + admitted, sum.1 + degraded);
    }
    sum
}

/// Windows so long that none ends during the test.
fn limits() -> [Arc<[Limit]>; 3] {
    let year = seconds(365 * 86_400);
    [
        Arc::from([sliding("year", 1_000, year)]),
        Arc::from([fixed("year", 1_000, year), sliding("more", 5_000, year)]),
        Arc::from([log("year", 1_000, year), sliding("more", 5_000, year)]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_callers_get_exactly_the_limit_in_memory() {
    for limits in limits() {
        let limiter = Limiter::connect("memory:", Options::default()).await.unwrap();
        assert_eq!(admitted(vec![limiter], limits).await, (1_000, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_callers_on_three_nodes_get_exactly_the_limit_on_redis() {
    for limits in limits() {
        let server = Redis::start();
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let options = Options { leases: Leases::Off, call_budget: seconds(5), ..Options::default() };
            nodes.push(Limiter::connect(&server.url(), options).await.unwrap());
        }
        assert_eq!(admitted(nodes.clone(), limits).await, (1_000, 0));
        let sum = |count: fn(&Stats) -> u64| nodes.iter().map(|node| count(&node.stats())).sum::<u64>();
        let answers = sum(|stats| stats.exact) + sum(|stats| stats.leased) + sum(|stats| stats.refused_locally);
        assert_eq!(answers, (CALLERS * CHECKS_PER_CALLER) as u64);
        assert!(sum(|stats| stats.calls) < answers / 2, "concurrent checks share calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_limit_is_admitted_to_the_last_unit_although_slices_may_be_taken() {
    for nodes in [1, 2] {
        let server = Redis::start();
        let mut limiters = Vec::new();
        for _ in 0..nodes {
            let options = Options { call_budget: seconds(5), ..Options::default() };
            limiters.push(Limiter::connect(&server.url(), options).await.unwrap());
        }
        let limits = Arc::from([sliding("year", 100, seconds(365 * 86_400))]);
        assert_eq!(admitted(limiters, limits).await, (100, 0));
    }
}

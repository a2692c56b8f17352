//! What a node answers by itself: refusals it knows of, and slices; and how soon it hears of a reset elsewhere.
use std::time::{Duration, Instant};

use tollgate_limiter::{Check, Decision, Leases, Limit, Limiter, Mode, Options, Source, Timestamp};
use tollgate_test_servers::redis::Redis;
use tollgate_test_servers::wait::within_promise;

use crate::harness::{fixed, log, seconds, sliding, subject};

/// A slice ends after 100 ms, is looked for every 25, and then a call gives the rest back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_millis(200);

/// A window that does not end during a test.
fn century(limit: u64) -> [Limit; 1] {
    [fixed("century", limit, seconds(3_000 * 86_400))]
}

async fn node(server: &Redis, leases: Leases) -> Limiter {
    let options = Options { leases, call_budget: seconds(5), ..Options::default() };
    Limiter::connect(&server.url(), options).await.unwrap()
}

async fn check(node: &Limiter, limits: &[Limit], cost: u32) -> Decision {
    node.check(Check::new(subject("a"), limits).with_cost(cost), Timestamp::default()).await.unwrap()
}

#[tokio::test]
async fn a_refused_subject_costs_no_calls() {
    let server = Redis::start();
    let node = node(&server, Leases::Off).await;
    assert!(check(&node, &century(10), 10).await.allowed);
    let exact = check(&node, &century(10), 1).await;
    assert_eq!((exact.allowed, exact.source), (false, Source::Exact));
    let calls = node.stats().calls;
    for cost in 1..=100 {
        let refused = check(&node, &century(10), cost).await;
        assert_eq!((refused.allowed, refused.source), (false, Source::RefusedLocally));
        assert_eq!(refused.limits[0].used(), 10);
    }
    assert_eq!(node.stats().calls, calls);
}

#[tokio::test]
async fn a_refused_log_costs_no_calls_until_its_oldest_unit_leaves() {
    let server = Redis::start();
    let node = node(&server, Leases::Automatic).await;
    // Long enough for the store to be asked three times while the first unit is in it.
    let window = seconds(1);
    let limits = [log("short", 1_000, window)];
    let first = check(&node, &limits, 600).await;
    let second = check(&node, &limits, 400).await;
    assert!(second.at > first.at, "they do not leave together");
    assert_eq!(check(&node, &limits, 1).await.source, Source::Exact);
    let (calls, mut refused, mut asked) = (node.stats().calls, 0, 1);
    let allowed = loop {
        let decision = check(&node, &limits, 1).await;
        if decision.allowed {
            break decision;
        }
        refused += 1;
        // In the last moments the store's clock may be a little behind the guess at it.
        asked += u64::from(decision.source == Source::Exact);
        assert_eq!(decision.limits[0].resets_at(), first.at.saturating_add(window));
    };
    assert!(allowed.at >= first.at.saturating_add(window), "not a moment too early");
    assert_eq!(node.stats().calls, calls + asked);
    assert!(refused > 20 * asked, "{refused} refusals, {asked} of them asked for");
}

#[tokio::test]
async fn a_raised_limit_is_not_refused_locally() {
    let server = Redis::start();
    let node = node(&server, Leases::Off).await;
    assert!(check(&node, &century(10), 10).await.allowed);
    assert!(!check(&node, &century(10), 1).await.allowed);
    let raised = check(&node, &century(11), 1).await;
    assert_eq!((raised.allowed, raised.source), (true, Source::Exact));
}

#[tokio::test]
async fn a_smaller_cost_is_not_refused_locally() {
    let server = Redis::start();
    let node = node(&server, Leases::Off).await;
    assert!(check(&node, &century(10), 7).await.allowed);
    assert!(!check(&node, &century(10), 4).await.allowed);
    assert!(check(&node, &century(10), 3).await.allowed);
}

#[tokio::test]
async fn a_reset_by_another_node_is_noticed_within_a_second() {
    let server = Redis::start();
    let (here, there) = (node(&server, Leases::Off).await, node(&server, Leases::Off).await);
    assert!(check(&here, &century(10), 10).await.allowed);
    assert!(!check(&here, &century(10), 1).await.allowed);
    there.reset(subject("a")).await.unwrap();
    within_promise("the reset is noticed", seconds(1), async || {
        check(&here, &century(10), 1).await.allowed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hot_subject_far_from_its_limit_costs_hardly_any_calls() {
    let server = Redis::start();
    let node = node(&server, Leases::Automatic).await;
    let limits = century(100_000_000);
    let started = Instant::now();
    let mut checks = 0;
    while started.elapsed() < seconds(1) {
        checks += 1;
        let decision = check(&node, &limits, 1).await;
        assert_eq!((decision.allowed, decision.limits[0].used()), (true, checks));
    }
    let stats = node.stats();
    assert!(stats.leased * 10 > checks * 9, "{stats:?}");
    assert!(stats.calls * 50 < checks, "{stats:?}");
}

#[tokio::test]
async fn a_hot_subject_with_a_limit_beyond_a_quota_is_decided_exactly() {
    let server = Redis::start();
    let node = node(&server, Leases::Automatic).await;
    let [quota] = century(100_000_000);
    let [beyond] = century(7);
    let limits = [quota.with_mode(Mode::Count), Limit::new("beyond", beyond.quota().clone()).with_mode(Mode::Beyond)];
    let (started, mut checks) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_millis(500) {
        checks += 1;
        let decision = check(&node, &limits, 1).await;
        assert_eq!((decision.allowed, decision.limits[0].used(), decision.limits[1].used()), (true, checks, 0));
    }
    assert_eq!((node.stats().exact, node.stats().leased), (checks, 0));
    assert!(check(&node, &limits, 100_000_000 - u32::try_from(checks).unwrap()).await.allowed);
    let calls = node.stats().calls;
    for used in 1..=100 {
        let decision = check(&node, &limits, 1).await;
        assert_eq!((decision.allowed, decision.limits[1].used()), (used <= 7, used.min(7)));
    }
    assert_eq!(node.stats().calls, calls + 8, "what the store refused once is refused here");
}

#[tokio::test]
async fn what_is_left_of_a_slice_is_given_back() {
    let server = Redis::start();
    let (here, there) = (node(&server, Leases::Automatic).await, node(&server, Leases::Off).await);
    let limits = century(100_000);
    let mut spent = 0;
    while here.stats().leased == 0 {
        spent += 1;
        assert!(check(&here, &limits, 1).await.allowed);
    }
    assert!(check(&there, &limits, 0).await.limits[0].used() > spent, "a slice is counted when it is taken");
    within_promise("the rest is given back", GIVEN_BACK_WITHIN, async || {
        (check(&there, &limits, 0).await.limits[0].used() == spent).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nodes_that_hold_slices_admit_the_whole_limit_together() {
    let server = Redis::start();
    let nodes = [node(&server, Leases::Automatic).await, node(&server, Leases::Automatic).await];
    let limits = century(5_000);
    let (mut admitted, started) = (0, Instant::now());
    while admitted < 5_000 {
        assert!(started.elapsed() < seconds(10), "only {admitted} admitted");
        for node in &nodes {
            admitted += u64::from(check(node, &limits, 1).await.allowed);
        }
    }
    // What a node knows of a refusal ends, and then the store itself refuses. By then every slice has been over for 100 ms.
    let last = nodes[0].peek(Check::new(subject("a"), &limits), Timestamp::default()).await.unwrap().at;
    for node in &nodes {
        loop {
            let refused = check(node, &limits, 1).await;
            assert!(!refused.allowed);
            if refused.source == Source::Exact && refused.at > last.saturating_add(Duration::from_millis(200)) {
                break;
            }
            assert!(started.elapsed() < seconds(20), "the store is not asked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_node_that_dies_with_its_slices_costs_no_more_than_those() {
    let server = Redis::start();
    let (dying, other) = (node(&server, Leases::Automatic).await, node(&server, Leases::Off).await);
    // So large that it is not used up before the subject is hot, which takes up to 200 ms.
    let limits = century(100_000);
    let mut spent = 0;
    while dying.stats().leased == 0 {
        spent += 1;
        assert!(check(&dying, &limits, 1).await.allowed);
    }
    let stats = dying.stats();
    drop(dying);
    let used = check(&other, &limits, 0).await.limits[0].used();
    assert!(used > spent && used - spent <= 100_000 / 8, "{used} used, {spent} spent, {stats:?}");
}

#[tokio::test]
async fn what_was_spent_from_a_slice_is_undone_like_any_other_decision() {
    let server = Redis::start();
    let (here, there) = (node(&server, Leases::Automatic).await, node(&server, Leases::Off).await);
    let limits = century(100_000);
    let unit = Check::new(subject("a"), &limits);
    while here.stats().leased < 20 {
        let decision = check(&here, &limits, 1).await;
        here.undo(unit, &decision, Timestamp::default()).await.unwrap();
    }
    within_promise("the rest of a slice is given back", GIVEN_BACK_WITHIN, async || {
        (there.peek(unit, Timestamp::default()).await.unwrap().limits[0].used() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_check_whose_caller_goes_away_consumes_nothing() {
    let server = Redis::start();
    let node = node(&server, Leases::Automatic).await;
    let limits = [fixed("century", 100, seconds(3_000 * 86_400)), sliding("day", 100, seconds(86_400))];
    assert!(check(&node, &limits, 3).await.allowed);
    server.signal("STOP");
    let calls = node.stats().calls;
    let mut unheard: Vec<_> = (0..5).map(|_| Box::pin(check(&node, &limits, 7))).collect();
    let first = tokio::time::timeout(Duration::from_millis(100), futures_util::future::join_all(&mut unheard)).await;
    assert!(first.is_err() && node.stats().calls > calls, "they were asked and are not answered");
    drop(unheard);
    server.signal("CONT");
    within_promise("what nobody heard of is undone", seconds(2), async || {
        check(&node, &limits, 0).await.limits.iter().all(|status| status.used() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_peek_does_not_count_what_this_node_holds_and_has_not_spent() {
    let server = Redis::start();
    let node = node(&server, Leases::Automatic).await;
    let limits = century(100_000);
    let mut spent = 0;
    while node.stats().leased < 20 {
        spent += 1;
        assert!(check(&node, &limits, 1).await.allowed);
        let peek = node.peek(Check::new(subject("a"), &limits), Timestamp::default()).await.unwrap();
        assert_eq!(peek.limits[0].used(), spent);
    }
}

//! Properties over random traces: the stores agree, `retry_after` is exact, a window never holds more than its limit.
use std::{cell::Cell, collections::HashMap, time::Duration};

use proptest::prelude::*;
use tollgate_limiter::{Check, Leases, Limit, Mode, Quota, ReservationId, Retry, Timestamp};

use crate::{
    harness::{NEW_YEAR, Store, subject},
    traces::*,
};

fn stores_agree(limits: impl Strategy<Value = Vec<Limit>>, step: impl Strategy<Value = Step>, leases: Leases) {
    let runtime = runtime();
    let redis = runtime.block_on(Store::redis_with(leases));
    let trace = (limits, prop::collection::vec(step, 1..40));
    let run = Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(cases(400));
    let outcome = runner.run(&trace, |(limits, steps)| {
        run.set(run.get() + 1);
        let memory = runtime.block_on(Store::memory());
        let subjects = pair(run.get());
        let mut now = NEW_YEAR;
        for step in &steps {
            now = now.saturating_add(step.advance).clamp(0, 1 << 52);
            let at = Timestamp::from_micros(now);
            let floors = floors(step, &limits, at);
            let limits = resized(&limits, step.size);
            let check = Check::new(subjects[usize::from(step.who)], &limits).with_cost(step.cost).with_floors(&floors);
            let peeks =
                runtime.block_on(async { [peek(&memory, check, step, at).await, peek(&redis, check, step, at).await] });
            prop_assert_eq!(&peeks[0], &peeks[1], "a peek before {:?}", step);
            let outcomes = runtime
                .block_on(async { [perform(&memory, check, step, at).await, perform(&redis, check, step, at).await] });
            let [left, right] = outcomes;
            prop_assert_eq!(&left, &right, "{:?}", step);
            if let (Deed::Check | Deed::Acquire, None, Some(decision)) = (step.deed, step.refund, left.0) {
                let [peek, _] = peeks;
                prop_assert_eq!((peek.allowed, peek.retry), (decision.allowed, decision.retry), "{:?}", step);
                if !decision.allowed {
                    prop_assert_eq!(peek, decision, "what is refused is refused alike: {:?}", step);
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn the_script_and_the_rules_in_memory_agree_on_every_trace() {
    stores_agree(limits(quota_or_slots()), step(), Leases::Off);
}

#[test]
fn they_agree_on_logs_among_themselves_and_beside_windows() {
    let logs = prop_oneof![3 => logged(), 1 => quota_or_slots()];
    stores_agree(limits(logs), step(), Leases::Automatic);
}

#[test]
fn the_shortest_way_through_the_script_agrees_too() {
    let bare = without_holds().prop_map(|step| Step { refund: None, floor: None, ..step });
    stores_agree(limits(windowed()), bare, Leases::Off);
}

#[test]
fn so_does_the_shortest_way_with_a_floor() {
    let bare = without_holds().prop_map(|step| Step { refund: None, floor: step.floor.or(Some((0, 0))), ..step });
    stores_agree(limits(windowed()), bare, Leases::Off);
}

#[test]
fn a_node_with_slices_answers_as_the_rules_in_memory_do() {
    stores_agree(limits(windowed()), without_holds(), Leases::Automatic);
}

#[test]
fn they_agree_on_what_applies_beyond_a_quota() {
    stores_agree(throttled(quota_or_slots().boxed()), step(), Leases::Automatic);
}

#[test]
fn they_agree_on_plain_checks_beyond_a_quota() {
    stores_agree(throttled(windowed().boxed()), without_holds(), Leases::Automatic);
}

fn retry_is_exact(
    runtime: &tokio::runtime::Runtime,
    store: &Store,
    limits: impl Strategy<Value = Vec<Limit>>,
    holding: Holding,
    count: u32,
) {
    let trace = (limits, prop::collection::vec(step(), 1..30));
    let run = Cell::new(0);
    let refusals = Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(cases(count));
    let outcome = runner.run(&trace, |(limits, steps)| {
        run.set(run.get() + 1);
        let mut now = NEW_YEAR;
        for step in &steps {
            now = now.saturating_add(step.advance).clamp(0, 1 << 51);
            let who = subject(&format!("{} {}", run.get(), step.who));
            let decide = |at| {
                let (check, at) = (Check::new(who, &limits).with_cost(step.cost), Timestamp::from_micros(at));
                let hold = ReservationId::new(&step.hold.to_le_bytes());
                let decision = runtime.block_on(async {
                    match holding {
                        Holding::Nothing => store.limiter.check(check, at).await,
                        Holding::Slots => store.limiter.check(check.with_reservation(hold), at).await,
                        Holding::All => store.limiter.reserve(check, hold, step.life, at).await,
                    }
                });
                decision.unwrap()
            };
            let decision = decide(now);
            for (index, (limit, status)) in limits.iter().zip(&decision.limits).enumerate() {
                let weight = u64::from(limit.weight());
                if !status.is_enforced() || status.remaining() >= weight || weight > limit.quota().burst() {
                    continue;
                }
                let first = if limit.mode() == Mode::Beyond { index - 1 } else { index };
                let unit = Check::new(who, &limits[first..=index]);
                // A refused check does not count what it holds itself.
                let own = ReservationId::new(&step.hold.to_le_bytes());
                let unit = if decision.allowed { unit } else { unit.with_reservation(own) };
                let fits = |at| runtime.block_on(store.limiter.peek(unit, Timestamp::from_micros(at))).unwrap().allowed;
                let moment = status.resets_at().as_micros();
                // A cost may exceed what is left of a quota that has units.
                let early = limit.mode() == Mode::Beyond && fits(now);
                prop_assert!(early || !fits(moment - 1), "a unit fits before it is said to: {:?}", step);
                prop_assert!(fits(moment), "no unit fits when it is said to: {:?}", step);
            }
            match decision.retry {
                None => prop_assert!(decision.allowed),
                Some(Retry::Never) => {
                    prop_assert!(
                        limits
                            .iter()
                            .any(|limit| u64::from(step.cost) * u64::from(limit.weight()) > limit.quota().burst())
                    )
                }
                Some(Retry::At(moment)) => {
                    refusals.set(refusals.get() + 1);
                    prop_assert!(!decision.allowed);
                    prop_assert!(moment > decision.at);
                    prop_assert!(!decide(moment.as_micros() - 1).allowed, "allowed a microsecond early: {:?}", step);
                    prop_assert!(decide(moment.as_micros()).allowed, "refused at the promised moment: {:?}", step);
                    now = moment.as_micros();
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(refusals.get() > count / 10, "only {} refusals were seen", refusals.get());
}

/// What a check holds of its limits rather than consume it.
#[derive(Debug, Clone, Copy)]
enum Holding {
    Nothing,
    Slots,
    All,
}

#[test]
fn a_promised_moment_is_exact_in_memory() {
    let runtime = runtime();
    let store = runtime.block_on(Store::memory());
    retry_is_exact(&runtime, &store, limits(quota()), Holding::Nothing, 2_000);
}

#[test]
fn a_promised_moment_is_exact_on_redis() {
    let runtime = runtime();
    let store = runtime.block_on(Store::redis());
    retry_is_exact(&runtime, &store, limits(quota()), Holding::Nothing, 200);
}

#[test]
fn a_moment_promised_beyond_a_quota_is_exact() {
    let runtime = runtime();
    let store = runtime.block_on(Store::memory());
    retry_is_exact(&runtime, &store, throttled(quota().boxed()), Holding::Nothing, 2_000);
    retry_is_exact(&runtime, &store, throttled(quota_or_slots().boxed()), Holding::Slots, 1_000);
    retry_is_exact(&runtime, &store, throttled(quota_or_slots().boxed()), Holding::All, 1_000);
}

#[test]
fn a_moment_promised_beyond_a_quota_is_exact_on_redis() {
    let runtime = runtime();
    let store = runtime.block_on(Store::redis());
    retry_is_exact(&runtime, &store, throttled(quota().boxed()), Holding::Nothing, 200);
}

#[test]
fn a_moment_promised_beside_slots_is_exact() {
    let runtime = runtime();
    let store = runtime.block_on(Store::memory());
    retry_is_exact(&runtime, &store, limits(quota_or_slots()), Holding::Slots, 1_000);
}

#[test]
fn a_moment_promised_beside_reservations_is_exact() {
    let runtime = runtime();
    let store = runtime.block_on(Store::memory());
    retry_is_exact(&runtime, &store, limits(quota_or_slots()), Holding::All, 1_000);
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn no_aligned_window_ever_holds_more_than_its_limit(
        quota in windowed(),
        steps in prop::collection::vec((-500_000_i64..5_000_000, 0_u32..20), 1..200),
    ) {
        let runtime = runtime();
        let store = runtime.block_on(Store::memory());
        let limits = [Limit::new("only", quota.clone())];
        let mut admitted = HashMap::<Timestamp, u64>::new();
        let (mut now, mut latest, mut counted) = (NEW_YEAR, NEW_YEAR, Timestamp::default());
        for (advance, cost) in steps {
            // A clock that goes back by more than a window passes through windows a second time: no count can hold then.
            let period = quota.window().period(Timestamp::from_micros(latest));
            now = (now + advance).max(latest - (period.end.as_micros() - period.start.as_micros()));
            latest = latest.max(now);
            let at = Timestamp::from_micros(now);
            let check = Check::new(subject("a"), &limits).with_cost(cost);
            if runtime.block_on(store.limiter.check(check, at)).unwrap().allowed {
                // Time does not go back for a counter: what comes with an earlier clock counts in the latest window used.
                if cost > 0 {
                    counted = counted.max(at);
                }
                let used = admitted.entry(quota.window().period(counted.max(at)).start).or_default();
                *used += u64::from(cost);
                prop_assert!(*used <= quota.limit());
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_window_of_a_log_ever_holds_more_than_its_limit_wherever_it_begins(
        (limit, window) in (1_u64..40, 1_000_i64..5_000_000),
        steps in prop::collection::vec((-500_i64..500_000, 1_u32..5), 1..150),
    ) {
        let runtime = runtime();
        let store = runtime.block_on(Store::memory());
        let length = Duration::from_micros(window.unsigned_abs());
        let limits = [Limit::new("only", Quota::sliding_log(limit, length).unwrap())];
        let mut admitted = Vec::<(i64, u64)>::new();
        let (mut now, mut latest) = (NEW_YEAR, NEW_YEAR);
        for (advance, cost) in steps {
            now += advance;
            let check = Check::new(subject("a"), &limits).with_cost(cost);
            let decision = runtime.block_on(store.limiter.check(check, Timestamp::from_micros(now))).unwrap();
            if decision.allowed {
                // Time does not go back for a log: what comes with an earlier clock counts with the latest.
                latest = latest.max(now);
                admitted.push((latest, u64::from(cost)));
            }
            let within = admitted.iter().filter(|(at, _)| *at > latest - window).map(|(_, units)| units).sum::<u64>();
            prop_assert!(within <= limit, "{within} in the window that ends at {latest}");
            // And no less: what was refused would have been too much.
            let at = latest.max(now);
            let within = admitted.iter().filter(|(then, _)| *then > at - window).map(|(_, units)| units).sum::<u64>();
            prop_assert!(decision.allowed || within + u64::from(cost) > limit);
        }
    }

    #[test]
    fn a_bucket_never_lets_through_more_than_it_holds_and_what_flows_in(
        (limit, window, burst) in (1_u64..50, 1_u64..5_000, 1_u64..50),
        steps in prop::collection::vec((0_i64..500_000, 1_u32..5), 1..150),
    ) {
        let runtime = runtime();
        let store = runtime.block_on(Store::memory());
        let limits = [Limit::new("only", Quota::token_bucket(limit, Duration::from_millis(window), burst).unwrap())];
        let mut admitted = Vec::<(i64, u64)>::new();
        let mut now = NEW_YEAR;
        for (advance, cost) in steps {
            now += advance;
            let check = Check::new(subject("a"), &limits).with_cost(cost);
            if runtime.block_on(store.limiter.check(check, Timestamp::from_micros(now))).unwrap().allowed {
                admitted.push((now, u64::from(cost)));
            }
        }
        for (start, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &admitted[start..] {
                sum += cost;
                let flowed = (at - from).unsigned_abs() * limit / (window * 1_000);
                prop_assert!(sum <= burst + flowed, "{} within {} µs", sum, at - from);
            }
        }
    }
}

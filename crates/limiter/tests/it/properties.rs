//! Properties over random traces: the stores agree, `retry_after` is exact, a window never holds more than its limit.
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tollgate_limiter::{
    Calendar, CalendarUnit, Check, Decision, Floor, Limit, Mode, Quota, Retry, Source, Subject, Timestamp, Tz, Window,
};

use crate::harness::{NEW_YEAR, Store, subject};

#[derive(Debug, Clone)]
struct Step {
    /// µs; mostly forward, now and then back.
    advance: i64,
    cost: u32,
    who: u8,
    floor: Option<(i64, u64)>,
}

fn window() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1_000_u64..5_000).prop_map(Duration::from_micros),
        (1_u64..100_000).prop_map(Duration::from_millis),
        (1_u64..100_000).prop_map(Duration::from_secs),
        Just(Duration::from_secs(3_660 * 86_400)),
    ]
}

fn calendar() -> impl Strategy<Value = Window> {
    use CalendarUnit::{Day, Hour, Minute, Month, Week, Year};
    let units = prop::sample::select(vec![Minute, Hour, Day, Week, Month, Year]);
    let zones = prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kathmandu, Tz::America__St_Johns]);
    (units, zones).prop_map(|(unit, zone)| Window::Calendar(Calendar::new(unit, zone)))
}

fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..20, 1_u64..10_000, Just(1_000_000_000)]
}

fn quota() -> impl Strategy<Value = Quota> {
    prop_oneof![
        3 => (limit(), window()).prop_map(|(limit, window)| Quota::sliding_window(limit, Window::Every(window)).unwrap()),
        1 => (limit(), window()).prop_map(|(limit, window)| Quota::fixed_window(limit, Window::Every(window)).unwrap()),
        1 => (limit(), calendar()).prop_map(|(limit, window)| Quota::fixed_window(limit, window).unwrap()),
    ]
}

fn limits() -> impl Strategy<Value = Vec<Limit>> {
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Count)];
    prop::collection::vec((quota(), mode), 1..4).prop_map(|quotas| {
        let named =
            |(index, (quota, mode)): (usize, (Quota, Mode))| Limit::new(index.to_string(), quota).with_mode(mode);
        quotas.into_iter().enumerate().map(named).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    let advance = prop_oneof![
        4 => 0_i64..2_000_000,
        2 => 0_i64..200_000_000_000,
        1 => -2_000_000_i64..0,
        1 => -400_000_000_000_000_i64..400_000_000_000_000,
    ];
    let cost = prop_oneof![6 => 0_u32..12, 1 => 0_u32..20_000, 1 => Just(u32::MAX)];
    let floor = prop::option::weighted(0.1, (-1_i64..2, 0_u64..100));
    (advance, cost, 0_u8..2, floor).prop_map(|(advance, cost, who, floor)| Step { advance, cost, who, floor })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A floor of the period before, of, or after `now`.
fn floors(step: &Step, limits: &[Limit], now: Timestamp) -> Vec<Floor> {
    let floor = |(periods, used): (i64, u64)| {
        let period = limits[0].quota().window().period(now);
        let length = period.end.as_micros() - period.start.as_micros();
        Floor {
            limit_index: 0,
            period_start: Timestamp::from_micros(period.start.as_micros() + periods * length),
            used,
        }
    };
    step.floor.map(floor).into_iter().collect()
}

/// Two subjects in two partitions, so that neither makes the memory store sweep out the other.
fn pair(run: u32) -> [Subject; 2] {
    let first = subject(&format!("{run} first"));
    let mut others = (0..).map(|other| subject(&format!("{run} {other}")));
    [first, others.find(|other| other.partition() != first.partition()).unwrap()]
}

#[test]
fn the_script_and_the_rules_in_memory_agree_on_every_trace() {
    let runtime = runtime();
    let redis = runtime.block_on(Store::redis());
    let trace = (limits(), prop::collection::vec(step(), 1..40));
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
            let check = Check::new(subjects[usize::from(step.who)], &limits).with_cost(step.cost).with_floors(&floors);
            let (left, right) = runtime.block_on(async {
                (memory.limiter.check(check, at).await.unwrap(), redis.limiter.check(check, at).await.unwrap())
            });
            // Which way the answer came about is the stores' own affair.
            prop_assert_eq!(
                Decision { source: Source::Exact, ..left },
                Decision { source: Source::Exact, ..right },
                "{:?}",
                step
            );
        }
        Ok(())
    });
    outcome.unwrap();
}

fn retry_is_exact(runtime: &tokio::runtime::Runtime, store: &Store, count: u32) {
    let trace = (limits(), prop::collection::vec(step(), 1..30));
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
                let check = Check::new(who, &limits).with_cost(step.cost);
                runtime.block_on(store.limiter.check(check, Timestamp::from_micros(at))).unwrap()
            };
            let decision = decide(now);
            match decision.retry {
                None => prop_assert!(decision.allowed),
                Some(Retry::Never) => {
                    prop_assert!(limits.iter().any(|limit| u64::from(step.cost) > limit.quota().limit()))
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
    assert!(refusals.get() > 100, "only {} refusals were seen", refusals.get());
}

#[test]
fn a_promised_moment_is_exact_in_memory() {
    let runtime = runtime();
    let store = runtime.block_on(Store::memory());
    retry_is_exact(&runtime, &store, 2_000);
}

#[test]
fn a_promised_moment_is_exact_on_redis() {
    let runtime = runtime();
    let store = runtime.block_on(Store::redis());
    retry_is_exact(&runtime, &store, 200);
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn no_aligned_window_ever_holds_more_than_its_limit(
        quota in quota(),
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

//! Properties over random traces: the stores agree, `retry_after` is exact, a window never holds more than its limit.
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tollgate_limiter::{
    Algorithm, Calendar, CalendarUnit, Check, Decision, Floor, Leases, Limit, Mode, Quota, ReservationId, Retry,
    Source, Subject, Timestamp, Tz, Window,
};

use crate::harness::{NEW_YEAR, Store, subject};

#[derive(Debug, Clone)]
struct Step {
    /// µs; mostly forward, now and then back.
    advance: i64,
    cost: u32,
    who: u8,
    floor: Option<(i64, u64)>,
    /// Afterwards, gives back as much as that, consumed so many µs before.
    refund: Option<(u32, i64)>,
    /// Sevenths of the limits' sizes that hold for this step.
    size: u64,
    deed: Deed,
    hold: u32,
    life: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Look,
    Check,
    Acquire,
    Reserve,
    Commit,
    Release,
    Renew,
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

fn windowed() -> impl Strategy<Value = Quota> {
    prop_oneof![
        3 => (limit(), window()).prop_map(|(limit, window)| Quota::sliding_window(limit, Window::Every(window)).unwrap()),
        1 => (limit(), window()).prop_map(|(limit, window)| Quota::fixed_window(limit, Window::Every(window)).unwrap()),
        1 => (limit(), calendar()).prop_map(|(limit, window)| Quota::fixed_window(limit, window).unwrap()),
    ]
}

fn logged() -> impl Strategy<Value = Quota> {
    (prop_oneof![1_u64..20, Just(1_000)], window())
        .prop_map(|(limit, window)| Quota::sliding_log(limit, window).unwrap())
}

fn quota() -> impl Strategy<Value = Quota> {
    let bucket = (limit(), window(), limit())
        .prop_filter_map("refills too slowly", |(limit, window, burst)| Quota::token_bucket(limit, window, burst).ok());
    prop_oneof![3 => windowed(), 2 => logged(), 1 => bucket]
}

fn quota_or_slots() -> impl Strategy<Value = Quota> {
    let slots = (1_u64..6, 1_u64..20_000)
        .prop_map(|(limit, life)| Quota::concurrency(limit, Duration::from_millis(life)).unwrap());
    prop_oneof![3 => quota(), 1 => slots]
}

fn limits(quota: impl Strategy<Value = Quota>) -> impl Strategy<Value = Vec<Limit>> {
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Count)];
    let weight = prop_oneof![4 => Just(1_u32), 1 => 1_u32..5, 1 => Just(1_000_000)];
    prop::collection::vec((quota, mode, weight), 1..4).prop_map(|quotas| {
        let named = |(index, (quota, mode, weight)): (usize, (Quota, Mode, u32))| {
            Limit::new(index.to_string(), quota).with_mode(mode).with_weight(weight)
        };
        quotas.into_iter().enumerate().map(named).collect()
    })
}

/// The same limits after an operator changed their sizes, which their counters outlive.
fn resized(limits: &[Limit], factor: u64) -> Vec<Limit> {
    let resize = |limit: &Limit| {
        let size = |size: u64| (size * factor / 7).clamp(1, 1_000_000_000);
        let (quota, window) = (limit.quota(), limit.quota().window());
        let resized = match (quota.algorithm(), window) {
            (Algorithm::SlidingWindow, _) => Quota::sliding_window(size(quota.limit()), window),
            (Algorithm::TokenBucket, Window::Every(length)) => {
                Quota::token_bucket(quota.limit(), length, size(quota.burst()))
            }
            (Algorithm::SlidingLog, Window::Every(length)) => {
                Quota::sliding_log(size(quota.limit()).min(1_000), length)
            }
            (Algorithm::Concurrency, Window::Every(life)) => Quota::concurrency(size(quota.limit()).min(1_000), life),
            _ => Quota::fixed_window(size(quota.limit()), window),
        };
        resized.map_or(limit.clone(), |quota| {
            Limit::new(limit.name(), quota).with_mode(limit.mode()).with_weight(limit.weight())
        })
    };
    limits.iter().map(resize).collect()
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
    let refund = prop::option::weighted(0.2, (1_u32..20, 0_i64..200_000_000));
    let size = prop_oneof![8 => Just(7_u64), 1 => 1_u64..30];
    let deeds = [Deed::Look, Deed::Acquire, Deed::Reserve, Deed::Commit, Deed::Release, Deed::Renew];
    let holding = (prop::sample::select(deeds.to_vec()), 0_u32..4, (1_u64..20_000).prop_map(Duration::from_millis));
    (advance, cost, 0_u8..2, floor, refund, size, holding).prop_map(
        |(advance, cost, who, floor, refund, size, (deed, hold, life))| Step {
            advance,
            cost,
            who,
            floor,
            refund,
            size,
            deed,
            hold,
            life,
        },
    )
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

/// What came of a step: a decision, or whether there was a hold.
type Performed = (Option<Decision>, Option<bool>);

async fn perform(store: &Store, check: Check<'_>, step: &Step, at: Timestamp) -> Performed {
    let (limiter, hold) = (&store.limiter, ReservationId::new(&step.hold.to_le_bytes()));
    if let Some((amount, before)) = step.refund {
        let moment = Timestamp::from_micros(at.as_micros() - before);
        limiter.refund(check.with_cost(amount), moment, at).await.unwrap();
    }
    let decision = match step.deed {
        Deed::Look => limiter.check(check.with_cost(0), at).await,
        Deed::Check => limiter.check(check, at).await,
        Deed::Acquire => limiter.check(check.with_reservation(hold), at).await,
        Deed::Reserve => limiter.reserve(check, hold, step.life, at).await,
        Deed::Commit => return (None, Some(limiter.commit(check, hold, at).await.unwrap())),
        Deed::Release => return (None, Some(limiter.release(check, hold, at).await.unwrap())),
        Deed::Renew => return (None, Some(limiter.renew(check, hold, step.life, at).await.unwrap())),
    };
    // Which way the answer came about is the stores' own affair.
    (Some(Decision { source: Source::Exact, ..decision.unwrap() }), None)
}

/// What the step's check would be answered.
async fn peek(store: &Store, check: Check<'_>, step: &Step, at: Timestamp) -> Decision {
    let check = match step.deed {
        Deed::Acquire => check.with_reservation(ReservationId::new(&step.hold.to_le_bytes())),
        _ => check,
    };
    let decision = store.limiter.peek(check, at).await.unwrap();
    Decision { source: Source::Exact, ..decision }
}

/// The same where nothing is held, so that slices may be taken.
fn without_holds() -> impl Strategy<Value = Step> {
    step().prop_map(|step| Step { deed: Deed::Check, ..step })
}

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
            for (limit, status) in limits.iter().zip(&decision.limits) {
                let weight = u64::from(limit.weight());
                if limit.mode() == Mode::Count || status.remaining() >= weight || weight > limit.quota().burst() {
                    continue;
                }
                let unit = Check::new(who, std::slice::from_ref(limit));
                // A refused check does not count what it holds itself.
                let own = ReservationId::new(&step.hold.to_le_bytes());
                let unit = if decision.allowed { unit } else { unit.with_reservation(own) };
                let fits = |at| runtime.block_on(store.limiter.peek(unit, Timestamp::from_micros(at))).unwrap().allowed;
                let moment = status.resets_at().as_micros();
                prop_assert!(!fits(moment - 1), "a unit fits before it is said to: {:?}", step);
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

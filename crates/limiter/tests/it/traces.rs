//! What random traces are made of, and how a store goes through one.
use std::time::Duration;

use proptest::prelude::*;
use tollgate_limiter::{
    Algorithm, Calendar, CalendarUnit, Check, Decision, Floor, Limit, Mode, Quota, ReservationId, Source, Subject,
    Timestamp, Tz, Window,
};

use crate::harness::{Store, subject};

#[derive(Debug, Clone)]
pub(super) struct Step {
    /// µs; mostly forward, now and then back.
    pub(super) advance: i64,
    pub(super) cost: u32,
    pub(super) who: u8,
    pub(super) floor: Option<(i64, u64)>,
    /// Afterwards, gives back as much as that, consumed this many µs before.
    pub(super) refund: Option<(u32, i64)>,
    /// Sevenths of the limits' sizes that hold for this step.
    pub(super) size: u64,
    pub(super) deed: Deed,
    pub(super) hold: u32,
    pub(super) life: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Look,
    Check,
    Acquire,
    Reserve,
    Commit,
    Release,
    Renew,
}

pub(super) fn window() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1_000_u64..5_000).prop_map(Duration::from_micros),
        (1_u64..100_000).prop_map(Duration::from_millis),
        (1_u64..100_000).prop_map(Duration::from_secs),
        Just(Duration::from_secs(3_660 * 86_400)),
    ]
}

pub(super) fn calendar() -> impl Strategy<Value = Window> {
    use CalendarUnit::{Day, Hour, Minute, Month, Week, Year};
    let units = prop::sample::select(vec![Minute, Hour, Day, Week, Month, Year]);
    let zones = prop::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kathmandu, Tz::America__St_Johns]);
    (units, zones).prop_map(|(unit, zone)| Window::Calendar(Calendar::new(unit, zone)))
}

pub(super) fn limit() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..20, 1_u64..10_000, Just(1_000_000_000)]
}

pub(super) fn windowed() -> impl Strategy<Value = Quota> {
    prop_oneof![
        3 => (limit(), window()).prop_map(|(limit, window)| Quota::sliding_window(limit, Window::Every(window)).unwrap()),
        1 => (limit(), window()).prop_map(|(limit, window)| Quota::fixed_window(limit, Window::Every(window)).unwrap()),
        1 => (limit(), calendar()).prop_map(|(limit, window)| Quota::fixed_window(limit, window).unwrap()),
    ]
}

pub(super) fn logged() -> impl Strategy<Value = Quota> {
    (prop_oneof![1_u64..20, Just(1_000)], window())
        .prop_map(|(limit, window)| Quota::sliding_log(limit, window).unwrap())
}

pub(super) fn quota() -> impl Strategy<Value = Quota> {
    let bucket = (limit(), window(), limit())
        .prop_filter_map("refills too slowly", |(limit, window, burst)| Quota::token_bucket(limit, window, burst).ok());
    prop_oneof![3 => windowed(), 2 => logged(), 1 => bucket]
}

pub(super) fn quota_or_slots() -> impl Strategy<Value = Quota> {
    let slots = (1_u64..6, 1_u64..20_000)
        .prop_map(|(limit, life)| Quota::concurrency(limit, Duration::from_millis(life)).unwrap());
    prop_oneof![3 => quota(), 1 => slots]
}

pub(super) fn limits(quota: impl Strategy<Value = Quota>) -> impl Strategy<Value = Vec<Limit>> {
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Count)];
    let weight = prop_oneof![4 => Just(1_u32), 1 => 1_u32..5, 1 => Just(1_000_000)];
    prop::collection::vec((quota, mode, weight), 1..4).prop_map(|quotas| {
        let named = |(index, (quota, mode, weight)): (usize, (Quota, Mode, u32))| {
            Limit::new(index.to_string(), quota).with_mode(mode).with_weight(weight)
        };
        quotas.into_iter().enumerate().map(named).collect()
    })
}

/// Limits of which one is a quota that counts, followed by one that applies beyond it.
pub(super) fn throttled(quota: impl Strategy<Value = Quota> + Clone + 'static) -> impl Strategy<Value = Vec<Limit>> {
    let window = prop_oneof![window().prop_map(Window::Every), calendar()];
    let counted = (limit(), window).prop_map(|(limit, window)| Quota::fixed_window(limit, window).unwrap());
    let weights = prop::sample::select(vec![(1, 1), (1, 1), (2, 1), (1, 3), (1_000_000, 1)]);
    (limits(quota.clone()), counted, quota, weights, 0_usize..4).prop_map(
        |(mut limits, counted, beyond, (of_quota, of_beyond), at)| {
            let at = at.min(limits.len());
            let quota = Limit::new("quota", counted).with_mode(Mode::Count).with_weight(of_quota);
            let beyond = Limit::new("beyond", beyond).with_mode(Mode::Beyond).with_weight(of_beyond);
            limits.splice(at..at, [quota, beyond]);
            limits
        },
    )
}

/// The same limits after an operator changed their sizes, which their counters outlive.
pub(super) fn resized(limits: &[Limit], factor: u64) -> Vec<Limit> {
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

pub(super) fn step() -> impl Strategy<Value = Step> {
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

pub(super) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A floor of the period before, of, or after `now`.
pub(super) fn floors(step: &Step, limits: &[Limit], now: Timestamp) -> Vec<Floor> {
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
pub(super) fn pair(run: u32) -> [Subject; 2] {
    let first = subject(&format!("{run} first"));
    let mut others = (0..).map(|other| subject(&format!("{run} {other}")));
    [first, others.find(|other| other.partition() != first.partition()).unwrap()]
}

/// What came of a step: a decision, or whether there was a hold.
pub(super) type Performed = (Option<Decision>, Option<bool>);

pub(super) async fn perform(store: &Store, check: Check<'_>, step: &Step, at: Timestamp) -> Performed {
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
pub(super) async fn peek(store: &Store, check: Check<'_>, step: &Step, at: Timestamp) -> Decision {
    let check = match step.deed {
        Deed::Acquire => check.with_reservation(ReservationId::new(&step.hold.to_le_bytes())),
        _ => check,
    };
    let decision = store.limiter.peek(check, at).await.unwrap();
    Decision { source: Source::Exact, ..decision }
}

/// The same where nothing is held, so that slices may be taken.
pub(super) fn without_holds() -> impl Strategy<Value = Step> {
    step().prop_map(|step| Step { deed: Deed::Check, ..step })
}

//! The standing of one limit of a subject: how much is used, whether a cost fits, and when to come back.
use crate::{
    algorithm::{LogDeed, Rolled, SlidingLog},
    check::{Check, Part},
    decision::{Decision, LimitStatus, Retry},
    limit::{Limit, Mode},
    reservation::{self, MAX_HOLDS, ReservationId},
    state::{Change, StateRef},
    time::Timestamp,
};

/// Whether the subject has room for the reservations of the check.
#[inline]
pub(crate) fn has_room(check: &Check<'_>, part: &Part<'_>, state: StateRef<'_>, now: i64) -> bool {
    if state.reservations().len() < MAX_HOLDS / 2 || check.cost() == 0 {
        return true;
    }
    let own = check.purpose().reservation().map(ReservationId::number);
    let others = state.reservations().iter().filter(|hold| hold.until > now && Some(hold.id) != own).count();
    let wanted = part.limits.iter().filter(|limit| check.reserving(limit).is_some()).count();
    others + wanted <= MAX_HOLDS
}

/// Rolls a limit's cell to `now` and raises it to the part's floors; the flag is true when it must be written in any
/// case. The rare paths return numbers and take no reference to the cell, so that it stays in registers.
#[inline(always)]
pub(crate) fn prepare(part: &Part<'_>, index: usize, limit: &Limit, state: StateRef<'_>, now: i64) -> (Rolled, bool) {
    let rule = limit.quota().rule();
    let mut rolled = rule.roll(state.cell(limit.id(), index), now);
    let mut changed = rolled.moved;
    if !part.floors.is_empty() {
        let floor = floor(part, index, rolled.numbers.a);
        changed |= rule.raise(&mut rolled.numbers, floor);
    }
    (rolled, changed)
}

/// The highest floor of a limit in the period that begins at `start`.
#[cold]
fn floor(part: &Part<'_>, index: usize, start: i64) -> i64 {
    let of_limit = part.floors.iter().filter(|floor| floor.limit_index == index);
    let floors = of_limit.filter(|floor| floor.period_start.clamped() == start).map(|floor| floor.used);
    i64::try_from(floors.max().unwrap_or(0)).unwrap_or(i64::MAX)
}

/// Units consumed and held on a limit, without the check's own reservation.
#[inline(always)]
pub(crate) fn used(check: &Check<'_>, limit: &Limit, state: StateRef<'_>, rolled: &Rolled, now: i64) -> i64 {
    let consumed = limit.quota().rule().used(rolled);
    let Some(lists) = state.lists else { return consumed };
    let logged = limit.quota().rule().of_log().and_then(|rule| Some(rule.used(state.log(limit.id())?, now)));
    let held = reservation::held(&lists.reservations, limit.id(), check.purpose().reservation(), now);
    consumed.saturating_add(logged.unwrap_or(0)).saturating_add(held)
}

/// Whether the limit admits the check, as far as that does not depend on another limit.
#[inline(always)]
pub(crate) fn admits(check: &Check<'_>, limit: &Limit, used: i64, size: i64) -> bool {
    let price = limit.price(check.cost());
    price == 0 || limit.mode() != Mode::Enforce || used.saturating_add(price) <= size
}

/// The limit beyond which another one applies; None if `index` is that of a limit that always applies.
#[inline(always)]
pub(crate) fn limit_before<'a>(part: &Part<'a>, index: usize) -> Option<&'a Limit> {
    let limit = part.limits.get(index)?;
    if limit.mode() == Mode::Beyond { part.limits.get(index.checked_sub(1)?) } else { None }
}

/// Whether `cost` fits into a limit of this status.
#[cold]
pub(crate) fn fits(limit: &Limit, status: &LimitStatus, cost: u32) -> bool {
    status.used.saturating_add(limit.price(cost)) <= status.limit
}

/// When a limit beyond ceases to apply to `cost`, because that fits into the limit before it; `i64::MAX` for a limit that
/// always applies. `allowed` tells whether the state includes the check.
#[inline]
pub(crate) fn idle_at(
    check: &Check<'_>,
    part: &Part<'_>,
    index: usize,
    state: StateRef<'_>,
    now: i64,
    allowed: bool,
    cost: u32,
) -> i64 {
    let Some(before) = limit_before(part, index) else { return i64::MAX };
    let (rolled, _) = prepare(part, index - 1, before, state, now);
    let holds = allowed && check.cost() > 0 && check.reserving(before).is_some();
    let own = if holds { None } else { check.purpose().reservation() };
    fits_at(before, state, rolled, now, own, cost)
}

/// The earliest moment at which `cost` fits into a limit, in addition to all reservations except the one called `own`.
#[cold]
pub(crate) fn fits_at(
    limit: &Limit,
    state: StateRef<'_>,
    rolled: Rolled,
    now: i64,
    own: Option<ReservationId>,
    cost: u32,
) -> i64 {
    let log = limit.quota().rule().of_log().and_then(|rule| Some((rule, state.log(limit.id())?)));
    let rule_fits_at = |price| match log {
        Some((rule, log)) => rule.fits_at(log, now, price),
        None => limit.quota().rule().fits_at(&rolled, price),
    };
    reservation::fits_at(state.reservations(), limit.id(), own, now, rule_fits_at, limit.price(cost))
}

/// When a limit's window ends, its bucket is full, its log is empty or its last slot is free.
#[inline(always)]
pub(crate) fn resets_at(limit: &Limit, state: StateRef<'_>, rolled: &Rolled, now: i64) -> i64 {
    let rule = limit.quota().rule();
    let last = match (rule.only_reserves(), rule.of_log()) {
        (true, _) => reservation::last_end(state.reservations(), limit.id(), None, now),
        (_, Some(rule)) => state.log(limit.id()).map(|log| rule.empty_at(log, now)),
        _ => None,
    };
    last.unwrap_or_else(|| rule.resets_at(rolled))
}

/// At most 8 parts of 32 limits.
pub(crate) fn byte(index: usize) -> u8 {
    index.to_le_bytes()[0]
}

/// The change of a limit's log when units are consumed; with no units, the move after the clock stepped back.
#[cold]
pub(crate) fn log_change(limit: &Limit, rule: SlidingLog, state: StateRef<'_>, units: i64, now: i64) -> Option<Change> {
    let deed = match state.log(limit.id()) {
        _ if units > 0 => LogDeed::Consume(units),
        Some(log) if rule.behind(log, now) > 0 => LogDeed::Move,
        _ => return None,
    };
    Some(Change::Log { id: limit.id(), rule, deed })
}

/// Sets when a limit without a unit left has one again, and when a limit that refuses admits the cost, if
/// that is before its window ends.
#[inline(always)]
pub(crate) fn come_back(status: &mut LimitStatus, limit: &Limit, unit_fits_at: impl FnOnce() -> i64) {
    if !status.enforced {
        return;
    }
    if status.limit - status.used < limit.price(1) {
        exhaust(status, unit_fits_at);
    }
    if !status.exhausted && !status.allowed {
        status.resets_at = status.resets_at.min(status.fits_at);
    }
}

#[cold]
fn exhaust(status: &mut LimitStatus, unit_fits_at: impl FnOnce() -> i64) {
    let moment = unit_fits_at();
    // A limit beyond a quota is not exhausted while the quota has a unit.
    status.exhausted = moment > status.at;
    // If no unit ever fits into the limit, the window's end is the only answer.
    if status.exhausted && moment != i64::MAX {
        status.resets_at = moment;
    }
}

/// When to come back, once every limit has its own answer.
#[inline]
pub(crate) fn refuse(decision: &mut Decision) {
    if !decision.allowed {
        let (now, latest) = (decision.at.as_micros(), decision.limits.iter().map(|status| status.fits_at).max());
        decision.retry = Some(match latest {
            Some(i64::MAX) => Retry::Never,
            latest => Retry::At(Timestamp::from_micros(latest.unwrap_or(now).max(now))),
        });
    }
}

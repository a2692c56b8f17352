//! One atomic step over all limits of a check: all consume or none does. The stores bring the states and take the changes;
//! everything else is here, and pure.
use smallvec::SmallVec;

use crate::algorithm::Rolled;
use crate::check::{Check, Part, Purpose};
use crate::decision::{Decision, LimitStatus, Retry, Source};
use crate::hold::{self, Hold, HoldId, MAX_HOLDS};
use crate::limit::{Limit, Mode};
use crate::state::{Change, StateRef, States};
use crate::time::Timestamp;

/// Decides `check` at `now`. Limits that are not `counted` let everything through. In two passes, because nothing may be
/// written before all limits have agreed; to roll a cell twice costs less than to remember how it was.
pub(crate) fn decide(
    check: &Check<'_>,
    now: i64,
    counted: impl Fn(&Limit) -> bool,
    states: &mut impl States,
) -> Decision {
    let (first, others) = (check.first(), check.others());
    let mut allowed = lets_through(check, first, now, &counted, states.state(0));
    for (index, part) in others.iter().enumerate() {
        allowed = allowed && lets_through(check, part, now, &counted, states.state(index + 1));
    }
    let count = first.limits.len() + others.iter().map(|part| part.limits.len()).sum::<usize>();
    let mut limits = SmallVec::with_capacity(count);
    take(check, 0, first, allowed, now, &counted, states, &mut limits);
    for (index, part) in others.iter().enumerate() {
        take(check, index + 1, part, allowed, now, &counted, states, &mut limits);
    }
    decision(limits, allowed, now)
}

/// Whether all limits of one subject let the check through.
fn lets_through(
    check: &Check<'_>,
    part: &Part<'_>,
    now: i64,
    counted: &impl Fn(&Limit) -> bool,
    state: StateRef<'_>,
) -> bool {
    let mut allowed = true;
    for (index, limit) in part.limits.iter().enumerate() {
        if allowed && counted(limit) {
            let (rolled, _) = prepare(part, index, limit, state, now);
            allowed =
                admits(check, limit, used(check, limit, state, &rolled, now)) && has_room(check, part, state, now);
        }
    }
    allowed
}

/// Consumes or holds the price of every limit of one subject if the check is allowed, and says where each stands then.
#[expect(clippy::too_many_arguments, reason = "the second half of `decide`, for one of several subjects")]
fn take(
    check: &Check<'_>,
    part_index: usize,
    part: &Part<'_>,
    allowed: bool,
    now: i64,
    counted: &impl Fn(&Limit) -> bool,
    states: &mut impl States,
    limits: &mut SmallVec<[LimitStatus; 4]>,
) {
    for (index, limit) in part.limits.iter().enumerate() {
        let state = states.state(part_index);
        let (mut rolled, mut changed) = prepare(part, index, limit, state, now);
        let (counted, price) = (counted(limit), limit.price(check.cost()));
        let mut admitted = allowed || !counted;
        let mut taken = None;
        if !admitted {
            admitted =
                admits(check, limit, used(check, limit, state, &rolled, now)) && has_room(check, part, state, now);
        } else if allowed && counted && price > 0 {
            taken = check.holding(limit).map(|(id, life)| Hold {
                cell: limit.id(),
                id: id.number(),
                amount: price,
                until: now + life,
            });
            if taken.is_none() {
                limit.quota().rule().consume(&mut rolled, price);
                changed = true;
            }
        }
        let status = with_hold(status(check, limit, state, &rolled, admitted, now), check, limit, state, taken);
        limits.push(LimitStatus { part: byte(part_index), index: byte(index), ..status });
        if changed && counted {
            states.write(part_index, Change::Cell(limit.cell(&rolled)));
        }
        if let Some(hold) = taken {
            states.write(part_index, Change::Hold(hold));
        }
    }
}

/// A status that looked at the state before the check's own hold was there.
fn with_hold(
    status: LimitStatus,
    check: &Check<'_>,
    limit: &Limit,
    state: StateRef<'_>,
    taken: Option<Hold>,
) -> LimitStatus {
    let Some(Hold { cell, amount, until, .. }) = taken else { return status };
    let used = status.used + amount;
    if !limit.quota().rule().only_holds() {
        return LimitStatus { used, ..status };
    }
    let others = hold::last_end(state.holds, cell, check.purpose().hold(), status.at);
    LimitStatus { used, resets_at: others.map_or(until, |others| others.max(until)), ..status }
}

/// The decision that a store came to, from the states it left behind: rolled here once more to the store's own `now`. Of
/// the cost they count as used, `unspent` was taken in advance and is not.
#[cfg(feature = "redis")]
pub(crate) fn explain<'s>(
    check: &Check<'_>,
    allowed: bool,
    now: i64,
    state: impl Fn(usize) -> StateRef<'s>,
    unspent: u32,
) -> Decision {
    let mut limits = SmallVec::new();
    for (part, asked) in check.parts().enumerate() {
        let state = state(part);
        let room = allowed || has_room(check, asked, state, now);
        for (index, limit) in asked.limits.iter().enumerate() {
            let rolled = limit.quota().rule().roll(state.cell(limit.id(), index), now);
            let admitted = allowed || room && admits(check, limit, used(check, limit, state, &rolled, now));
            let mut status = status(check, limit, state, &rolled, admitted, now);
            let own = if allowed { check.holding(limit).map_or(0, |_| limit.price(check.cost())) } else { 0 };
            status.used = (status.used + own - limit.price(unspent)).max(0);
            limits.push(LimitStatus { part: byte(part), index: byte(index), ..status });
        }
    }
    decision(limits, allowed, now)
}

/// Ends, prolongs or gives back what others took, as the check's purpose says; false when there was nothing.
pub(crate) fn settle(check: &Check<'_>, now: i64, states: &mut impl States) -> bool {
    let mut found = false;
    for (part, asked) in check.parts().enumerate() {
        for (index, limit) in asked.limits.iter().enumerate() {
            let (rule, cell, price) = (limit.quota().rule(), limit.id(), limit.price(check.cost()));
            let state = states.state(part);
            let (mut rolled, mut changed) = prepare(asked, index, limit, state, now);
            let hold =
                |id: HoldId| state.holds.iter().find(|hold| hold.cell == cell && hold.id == id.number()).copied();
            let mut of_hold = None;
            match check.purpose() {
                Purpose::Settle(id) => {
                    of_hold = hold(id).map(|hold| Change::EndHold { cell, id: hold.id });
                    found |= hold(id).is_some_and(|hold| hold.until > now);
                    changed |= price > 0 && !rule.only_holds();
                    rule.consume(&mut rolled, price);
                }
                Purpose::Renew(id, life) => {
                    let until = now + hold::life(rule, life);
                    of_hold = hold(id).filter(|hold| hold.until > now).map(|hold| Change::Hold(Hold { until, ..hold }));
                    found |= of_hold.is_some();
                }
                Purpose::GiveBack(moment) => changed |= rule.give_back(&mut rolled, price, moment),
                Purpose::Consume | Purpose::Acquire(_) | Purpose::Reserve(..) => {}
            }
            if let Some(change) = of_hold {
                states.write(part, change);
            }
            if changed {
                states.write(part, Change::Cell(limit.cell(&rolled)));
            }
        }
    }
    found
}

/// Whether a subject may hold what the check would have it hold.
fn has_room(check: &Check<'_>, part: &Part<'_>, state: StateRef<'_>, now: i64) -> bool {
    if state.holds.len() < MAX_HOLDS / 2 || check.cost() == 0 {
        return true;
    }
    let own = check.purpose().hold().map(HoldId::number);
    let others = state.holds.iter().filter(|hold| hold.until > now && Some(hold.id) != own).count();
    let wanted = part.limits.iter().filter(|limit| check.holding(limit).is_some()).count();
    others + wanted <= MAX_HOLDS
}

/// Rolls a limit's cell to `now` and raises it to the part's floors; true beside it when it must be written in any case.
#[inline]
fn prepare(part: &Part<'_>, index: usize, limit: &Limit, state: StateRef<'_>, now: i64) -> (Rolled, bool) {
    let rule = limit.quota().rule();
    let mut rolled = rule.roll(state.cell(limit.id(), index), now);
    let mut changed = rolled.moved;
    for floor in part.floors.iter().filter(|floor| floor.limit_index == index) {
        let used = i64::try_from(floor.used).unwrap_or(i64::MAX);
        changed |= rule.raise(&mut rolled.numbers, floor.period_start.clamped(), used);
    }
    (rolled, changed)
}

/// What is consumed and held of a limit by all but the check's own hold.
#[inline]
fn used(check: &Check<'_>, limit: &Limit, state: StateRef<'_>, rolled: &Rolled, now: i64) -> i64 {
    let consumed = limit.quota().rule().used(rolled);
    if state.holds.is_empty() {
        return consumed;
    }
    consumed.saturating_add(hold::held(state.holds, limit.id(), check.purpose().hold(), now))
}

#[inline]
fn admits(check: &Check<'_>, limit: &Limit, used: i64) -> bool {
    let price = limit.price(check.cost());
    price == 0 || limit.mode() == Mode::Count || used.saturating_add(price) <= limit.quota().rule().limit()
}

/// Where a limit stands, from its rolled cell after the check, without the check's own hold.
#[inline]
fn status(
    check: &Check<'_>,
    limit: &Limit,
    state: StateRef<'_>,
    rolled: &Rolled,
    admitted: bool,
    now: i64,
) -> LimitStatus {
    let (rule, cell, own) = (limit.quota().rule(), limit.id(), check.purpose().hold());
    let fits_at = || {
        let rule_fits_at = |price| rule.fits_at(rolled, price);
        hold::fits_at(state.holds, cell, own, now, rule_fits_at, limit.price(check.cost()))
    };
    let held_until = if rule.only_holds() { hold::last_end(state.holds, cell, None, now) } else { None };
    LimitStatus {
        limit: rule.limit(),
        used: used(check, limit, state, rolled, now),
        at: now,
        resets_at: held_until.unwrap_or_else(|| rule.resets_at(rolled)),
        fits_at: if admitted { i64::MIN } else { fits_at() },
        part: 0,
        index: 0,
        allowed: admitted,
    }
}

fn decision(limits: SmallVec<[LimitStatus; 4]>, allowed: bool, now: i64) -> Decision {
    let latest = || limits.iter().map(|status| status.fits_at).max();
    let retry = match allowed {
        true => None,
        false => match latest() {
            Some(i64::MAX) => Some(Retry::Never),
            latest => Some(Retry::At(Timestamp::from_micros(latest.unwrap_or(now).max(now)))),
        },
    };
    Decision { allowed, degraded: false, source: Source::Exact, at: Timestamp::from_micros(now), retry, limits }
}

/// At most 8 parts of 32 limits.
fn byte(index: usize) -> u8 {
    index.to_le_bytes()[0]
}

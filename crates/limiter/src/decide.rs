//! One atomic step over all limits of a check: all consume or none does. The stores bring the states and take the changes;
//! everything else is here, and pure.
use crate::algorithm::{Cell, Rolled};
use crate::check::{Check, Part, Purpose};
use crate::decision::{Decision, LimitStatus, Retry};
use crate::hold::{self, Hold, HoldId, MAX_HOLDS};
use crate::limit::{Limit, Mode};
use crate::state::{Change, StateRef, States};
use crate::time::Timestamp;

/// Decides `check` in `decision`, which is open: a decision is too large to be moved about. Limits that are not `counted`
/// let everything through. In two passes, because nothing may be written before all limits have agreed; to roll a cell twice
/// costs less than to remember how it was.
pub(crate) fn decide(
    check: &Check<'_>,
    counted: impl Fn(&Limit) -> bool,
    states: &mut impl States,
    decision: &mut Decision,
) {
    decision.limits.reserve_exact(check.limits());
    for (index, part) in check.parts().enumerate() {
        ask(check, index, part, &counted, states.state(index), decision);
    }
    let (allowed, mut statuses) = (decision.allowed, decision.limits.as_mut_slice());
    for (index, part) in check.parts().enumerate() {
        let (of_part, others) = statuses.split_at_mut(part.limits.len());
        statuses = others;
        let plain = allowed && consumes(check) && part.floors.is_empty() && part.limits.iter().all(&counted);
        if plain && let Some(cells) = states.cells_in_order(index) {
            spend(check, part, cells, of_part);
            continue;
        }
        for (limit, status) in part.limits.iter().zip(of_part) {
            take(check, part, limit, allowed, counted(limit), status, states);
        }
    }
    refuse(decision);
}

/// Whether a check takes its cost, and does nothing else.
fn consumes(check: &Check<'_>) -> bool {
    check.purpose() == Purpose::Consume && check.cost() > 0
}

/// Consumes the price of limits that agreed from the cells that stand in their order: the way of nearly all checks.
#[inline(always)]
fn spend(check: &Check<'_>, part: &Part<'_>, cells: &mut [Cell], statuses: &mut [LimitStatus]) {
    for ((limit, cell), status) in part.limits.iter().zip(cells).zip(statuses) {
        let (rule, now) = (limit.quota().rule(), status.at);
        let (more, resets_at) = rule.spend(cell, limit.price(check.cost()), now);
        status.used = status.used.saturating_add(more);
        status.resets_at = resets_at;
        come_back(status, limit, || rule.fits_at(&rule.roll(Some(cell), now), limit.price(1)));
    }
}

/// Asks the limits of one subject, and says where they stand before the check.
#[inline(always)]
fn ask(
    check: &Check<'_>,
    part_index: usize,
    part: &Part<'_>,
    counted: &impl Fn(&Limit) -> bool,
    state: StateRef<'_>,
    decision: &mut Decision,
) {
    let now = decision.at.as_micros();
    for (index, limit) in part.limits.iter().enumerate() {
        let (used, size) = if part.floors.is_empty() && state.holds.is_empty() {
            limit.quota().rule().look(state.cell(limit.id(), index), now)
        } else {
            let (rolled, _) = prepare(part, index, limit, state, now);
            (used(check, limit, state, &rolled, now), limit.quota().rule().limit())
        };
        let allowed = !counted(limit) || admits(check, limit, used, size) && has_room(check, part, state, now);
        decision.allowed &= allowed;
        decision.limits.push(LimitStatus {
            limit: size,
            used,
            at: now,
            resets_at: now,
            fits_at: i64::MIN,
            part: byte(part_index),
            index: byte(index),
            allowed,
            enforced: limit.mode() == Mode::Enforce && counted(limit),
            exhausted: false,
        });
    }
}

/// Consumes or holds the price of a limit if the check is allowed, and says where the limit stands then.
#[inline(always)]
fn take(
    check: &Check<'_>,
    part: &Part<'_>,
    limit: &Limit,
    allowed: bool,
    counted: bool,
    status: &mut LimitStatus,
    states: &mut impl States,
) {
    let (state, now, rule) = (states.state(status.part()), status.at, limit.quota().rule());
    let (mut rolled, mut changed) = prepare(part, status.index(), limit, state, now);
    let price = limit.price(check.cost());
    let mut hold = None;
    if !status.allowed {
        status.fits_at = fits_at(limit, state, rolled, now, check.purpose().hold(), check.cost());
    } else if allowed && counted && price > 0 {
        hold = check.holding(limit).map(|(id, life)| Hold {
            cell: limit.id(),
            id: id.number(),
            amount: price,
            until: now + life,
        });
        if hold.is_none() {
            status.used = status.used.saturating_add(rule.consume(&mut rolled, price));
            changed = true;
        }
    }
    status.resets_at = resets_at(limit, state, &rolled, now);
    if changed && counted {
        states.write_cell(status.part(), status.index(), &limit.cell(&rolled));
    }
    let (of_part, mut own) = (status.part(), check.purpose().hold());
    if let Some(hold) = hold {
        hold_too(check, limit, states.state(of_part).holds, hold, status);
        states.write(of_part, Change::Hold(hold));
        own = None;
    }
    come_back(status, limit, || fits_at(limit, states.state(of_part), rolled, now, own, 1));
}

/// Has a limit of which not one unit is left say when there will be one, and one that refuses when it will not, where that
/// is before its window ends.
#[inline(always)]
fn come_back(status: &mut LimitStatus, limit: &Limit, unit_fits_at: impl FnOnce() -> i64) {
    if !status.enforced {
        return;
    }
    if status.limit - status.used < limit.price(1) {
        status.exhausted = true;
        exhaust(status, unit_fits_at);
    } else if !status.allowed {
        status.resets_at = status.resets_at.min(status.fits_at);
    }
}

#[cold]
fn exhaust(status: &mut LimitStatus, unit_fits_at: impl FnOnce() -> i64) {
    // Of a limit that no unit ever fits into, the window's end is all there is to say.
    match unit_fits_at() {
        i64::MAX => {}
        moment => status.resets_at = moment.max(status.at),
    }
}

/// The status of a limit that the check is about to hold as well.
#[cold]
fn hold_too(check: &Check<'_>, limit: &Limit, holds: &[Hold], hold: Hold, status: &mut LimitStatus) {
    status.used += hold.amount;
    if limit.quota().rule().only_holds() {
        let others = hold::last_end(holds, hold.cell, check.purpose().hold(), status.at);
        status.resets_at = others.map_or(hold.until, |others| others.max(hold.until));
    }
}

/// When to come back, once every limit has said it for itself.
#[inline]
fn refuse(decision: &mut Decision) {
    if !decision.allowed {
        let (now, latest) = (decision.at.as_micros(), decision.limits.iter().map(|status| status.fits_at).max());
        decision.retry = Some(match latest {
            Some(i64::MAX) => Retry::Never,
            latest => Retry::At(Timestamp::from_micros(latest.unwrap_or(now).max(now))),
        });
    }
}

/// How states came to be as they are, for a decision that is read from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The check was let through: they hold its cost.
    #[cfg(feature = "redis")]
    Taken,
    /// The check was refused.
    #[cfg(feature = "redis")]
    Refused,
    /// Nothing was done yet: they say what would be.
    Asked,
}

/// Fills in the decision on a check, which is open, from the states that a store has now, and changes nothing. Limits that
/// are not `counted` let everything through. Of what the states count as used, `unspent` units were taken in advance.
pub(crate) fn explain<'s>(
    check: &Check<'_>,
    outcome: Outcome,
    counted: impl Fn(&Limit) -> bool,
    state: impl Fn(usize) -> StateRef<'s>,
    unspent: u32,
    decision: &mut Decision,
) {
    let now = decision.at.as_micros();
    for (part_index, part) in check.parts().enumerate() {
        let state = state(part_index);
        let room = outcome.is_taken() || has_room(check, part, state, now);
        for (index, limit) in part.limits.iter().enumerate() {
            let (mut rolled, _) = prepare(part, index, limit, state, now);
            let (used, size) = (used(check, limit, state, &rolled, now), limit.quota().rule().limit());
            let allowed = outcome.is_taken() || !counted(limit) || room && admits(check, limit, used, size);
            let held =
                if outcome.is_taken() { check.holding(limit).map_or(0, |_| limit.price(check.cost())) } else { 0 };
            let own = if held > 0 { None } else { check.purpose().hold() };
            let mut status = LimitStatus {
                limit: size,
                used: (used + held - limit.price(unspent)).max(0),
                at: now,
                resets_at: resets_at(limit, state, &rolled, now),
                fits_at: if allowed { i64::MIN } else { fits_at(limit, state, rolled, now, own, check.cost()) },
                part: byte(part_index),
                index: byte(index),
                allowed,
                enforced: limit.mode() == Mode::Enforce && counted(limit),
                exhausted: false,
            };
            come_back(&mut status, limit, || {
                limit.quota().rule().give_back(&mut rolled, limit.price(unspent), now);
                fits_at(limit, state, rolled, now, own, 1)
            });
            decision.limits.push(status);
        }
    }
    decision.allowed = match outcome {
        Outcome::Asked => decision.limits.iter().all(|status| status.allowed),
        #[cfg(feature = "redis")]
        Outcome::Taken | Outcome::Refused => outcome.is_taken(),
    };
    refuse(decision);
}

impl Outcome {
    fn is_taken(self) -> bool {
        match self {
            #[cfg(feature = "redis")]
            Self::Taken => true,
            #[cfg(feature = "redis")]
            Self::Refused => false,
            Self::Asked => false,
        }
    }
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
                Purpose::Consume | Purpose::Peek(_) | Purpose::Acquire(_) | Purpose::Reserve(..) => {}
            }
            if let Some(change) = of_hold {
                states.write(part, change);
            }
            if changed {
                states.write_cell(part, index, &limit.cell(&rolled));
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
/// A rolled cell stays in registers only where nothing that is called hands it over: so the rare ways return numbers.
#[inline(always)]
fn prepare(part: &Part<'_>, index: usize, limit: &Limit, state: StateRef<'_>, now: i64) -> (Rolled, bool) {
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

/// What is consumed and held of a limit by all but the check's own hold.
#[inline(always)]
fn used(check: &Check<'_>, limit: &Limit, state: StateRef<'_>, rolled: &Rolled, now: i64) -> i64 {
    let consumed = limit.quota().rule().used(rolled);
    if state.holds.is_empty() {
        return consumed;
    }
    consumed.saturating_add(hold::held(state.holds, limit.id(), check.purpose().hold(), now))
}

#[inline(always)]
fn admits(check: &Check<'_>, limit: &Limit, used: i64, size: i64) -> bool {
    let price = limit.price(check.cost());
    price == 0 || limit.mode() == Mode::Count || used.saturating_add(price) <= size
}

/// The earliest moment at which `cost` fits into a limit, beside all that is held of it but under the name `own`.
#[cold]
fn fits_at(limit: &Limit, state: StateRef<'_>, rolled: Rolled, now: i64, own: Option<HoldId>, cost: u32) -> i64 {
    let rule_fits_at = |price| limit.quota().rule().fits_at(&rolled, price);
    hold::fits_at(state.holds, limit.id(), own, now, rule_fits_at, limit.price(cost))
}

/// When a limit's window ends, its bucket is full or its last slot is free.
#[inline(always)]
fn resets_at(limit: &Limit, state: StateRef<'_>, rolled: &Rolled, now: i64) -> i64 {
    let rule = limit.quota().rule();
    let held_until = if rule.only_holds() { hold::last_end(state.holds, limit.id(), None, now) } else { None };
    held_until.unwrap_or_else(|| rule.resets_at(rolled))
}

/// At most 8 parts of 32 limits.
fn byte(index: usize) -> u8 {
    index.to_le_bytes()[0]
}

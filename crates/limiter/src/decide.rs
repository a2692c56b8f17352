//! One atomic step over all limits of a check: all consume or none does. Pure: the stores bring the states and write them
//! back.
use smallvec::SmallVec;

use crate::algorithm::{Cell, Rolled};
use crate::check::{Check, Part, Purpose};
use crate::decision::{Decision, LimitStatus, Retry, Source};
use crate::hold::{self, Hold, HoldId, MAX_HOLDS};
use crate::limit::{Limit, Mode};
use crate::state::{Change, StateRef};
use crate::time::Timestamp;

/// Things to be written, with the index of their part, parts in order.
pub(crate) type Changes = SmallVec<[(usize, Change); 4]>;

/// What a check does to the states of its subjects.
pub(crate) struct Outcome {
    pub(crate) decision: Decision,
    /// Empty when the states stay as they are.
    pub(crate) changes: Changes,
}

struct Step<'a, 's> {
    part: usize,
    index: usize,
    limit: &'a Limit,
    state: StateRef<'s>,
    rolled: Rolled,
    changed: bool,
    counted: bool,
    admitted: bool,
}

/// Decides `check` at `now` over each part's state. Limits that are not `counted` let everything through.
pub(crate) fn decide<'s>(
    check: &Check<'_>,
    now: i64,
    counted: impl Fn(&Limit) -> bool,
    state: impl Fn(&Part<'_>) -> StateRef<'s>,
) -> Outcome {
    let mut steps = SmallVec::<[Step<'_, 's>; 4]>::new();
    for (part, asked) in check.parts().enumerate() {
        let state = state(asked);
        let room = has_room(check, asked, state, now);
        for (index, limit) in asked.limits.iter().enumerate() {
            let counted = counted(limit);
            let (rolled, changed) = prepare(asked, index, limit, state.cell(limit.id()), now);
            let admitted = !counted || room && admits(check, limit, used(check, limit, state, &rolled, now));
            steps.push(Step { part, index, limit, state, rolled, changed: counted && changed, counted, admitted });
        }
    }
    let allowed = steps.iter().all(|step| step.admitted);
    let takes = allowed && check.cost() > 0;
    let mut changes = Changes::new();
    let mut limits = SmallVec::new();
    for step in &mut steps {
        let held = if takes && step.counted { step.take(check, now, &mut changes) } else { None };
        if step.changed {
            changes.push((step.part, Change::Cell(step.limit.cell(&step.rolled))));
        }
        let mut status = status(check, step.limit, step.state, &step.rolled, step.admitted, now);
        if let Some(Hold { cell, amount, until, .. }) = held {
            status.used += amount;
            if step.limit.quota().rule().only_holds() {
                let others = hold::last_end(step.state.holds, cell, check.purpose().hold(), now);
                status.resets_at = others.map_or(until, |others| others.max(until));
            }
        }
        limits.push(LimitStatus { part: byte(step.part), index: byte(step.index), ..status });
    }
    Outcome { decision: decision(limits, allowed, now), changes }
}

impl Step<'_, '_> {
    /// Consumes or holds the check's price. What is held the status must add: it looks at the state before.
    fn take(&mut self, check: &Check<'_>, now: i64, changes: &mut Changes) -> Option<Hold> {
        let amount = self.limit.price(check.cost());
        let Some((id, life)) = check.holding(self.limit) else {
            self.limit.quota().rule().consume(&mut self.rolled, amount);
            self.changed = true;
            return None;
        };
        let hold = Hold { cell: self.limit.id(), id: id.number(), amount, until: now + life };
        changes.push((self.part, Change::Hold(hold)));
        Some(hold)
    }
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
            let rolled = limit.quota().rule().roll(state.cell(limit.id()), now);
            let admitted = allowed || room && admits(check, limit, used(check, limit, state, &rolled, now));
            let mut status = status(check, limit, state, &rolled, admitted, now);
            let own = if allowed { check.holding(limit).map_or(0, |_| limit.price(check.cost())) } else { 0 };
            status.used = (status.used + own - limit.price(unspent)).max(0);
            limits.push(LimitStatus { part: byte(part), index: byte(index), ..status });
        }
    }
    decision(limits, allowed, now)
}

/// What changes when a check's purpose is to end, prolong or give back what others took; and whether there was anything.
pub(crate) fn settle<'s>(check: &Check<'_>, now: i64, state: impl Fn(&Part<'_>) -> StateRef<'s>) -> (Changes, bool) {
    let (mut changes, mut found) = (Changes::new(), false);
    for (part, asked) in check.parts().enumerate() {
        let state = state(asked);
        for (index, limit) in asked.limits.iter().enumerate() {
            let (rule, cell, price) = (limit.quota().rule(), limit.id(), limit.price(check.cost()));
            let (mut rolled, mut changed) = prepare(asked, index, limit, state.cell(cell), now);
            let hold = |id: HoldId| state.holds.iter().find(|hold| hold.cell == cell && hold.id == id.number());
            match check.purpose() {
                Purpose::Settle(id) => {
                    changes.extend(hold(id).map(|hold| (part, Change::EndHold { cell, id: hold.id })));
                    found |= hold(id).is_some_and(|hold| hold.until > now);
                    changed |= price > 0 && !rule.only_holds();
                    rule.consume(&mut rolled, price);
                }
                Purpose::Renew(id, life) => {
                    let live = hold(id).filter(|hold| hold.until > now);
                    let until = now + hold::life(rule, life);
                    changes.extend(live.map(|hold| (part, Change::Hold(Hold { until, ..*hold }))));
                    found |= live.is_some();
                }
                Purpose::GiveBack(moment) => changed |= rule.give_back(&mut rolled, price, moment),
                Purpose::Consume | Purpose::Acquire(_) | Purpose::Reserve(..) => {}
            }
            if changed {
                changes.push((part, Change::Cell(limit.cell(&rolled))));
            }
        }
    }
    (changes, found)
}

/// Whether a subject may hold what the check would have it hold.
fn has_room(check: &Check<'_>, part: &Part<'_>, state: StateRef<'_>, now: i64) -> bool {
    let own = check.purpose().hold().map(HoldId::number);
    let others = || state.holds.iter().filter(|hold| hold.until > now && Some(hold.id) != own).count();
    let wanted = || part.limits.iter().filter(|limit| check.holding(limit).is_some()).count();
    state.holds.len() < MAX_HOLDS / 2 || check.cost() == 0 || others() + wanted() <= MAX_HOLDS
}

/// Rolls a limit's cell to `now` and raises it to the part's floors; true beside it when it must be written in any case.
fn prepare(part: &Part<'_>, index: usize, limit: &Limit, cell: Option<&Cell>, now: i64) -> (Rolled, bool) {
    let rule = limit.quota().rule();
    let mut rolled = rule.roll(cell, now);
    let mut changed = rolled.moved;
    for floor in part.floors.iter().filter(|floor| floor.limit_index == index) {
        let used = i64::try_from(floor.used).unwrap_or(i64::MAX);
        changed |= rule.raise(&mut rolled.numbers, floor.period_start.clamped(), used);
    }
    (rolled, changed)
}

/// What is consumed and held of a limit by all but the check's own hold.
fn used(check: &Check<'_>, limit: &Limit, state: StateRef<'_>, rolled: &Rolled, now: i64) -> i64 {
    let consumed = limit.quota().rule().used(rolled);
    if state.holds.is_empty() {
        return consumed;
    }
    consumed.saturating_add(hold::held(state.holds, limit.id(), check.purpose().hold(), now))
}

fn admits(check: &Check<'_>, limit: &Limit, used: i64) -> bool {
    let price = limit.price(check.cost());
    price == 0 || limit.mode() == Mode::Count || used.saturating_add(price) <= limit.quota().rule().limit()
}

/// Where a limit stands, from its rolled cell after the check, without the check's own hold.
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
    let retry = match limits.iter().map(|status| status.fits_at).max() {
        _ if allowed => None,
        Some(i64::MAX) => Some(Retry::Never),
        latest => Some(Retry::At(Timestamp::from_micros(latest.unwrap_or(now).max(now)))),
    };
    Decision { allowed, degraded: false, source: Source::Exact, at: Timestamp::from_micros(now), retry, limits }
}

/// At most 8 parts of 32 limits.
fn byte(index: usize) -> u8 {
    index.to_le_bytes()[0]
}

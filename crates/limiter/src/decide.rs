//! One atomic step over all limits of a check: all consume or none does. The stores provide the states and write the
//! changes; the rules are here and in `standing`, and pure.
use crate::{
    algorithm::Cell,
    check::{Check, Part, Purpose},
    decision::{Decision, LimitStatus},
    limit::{Limit, Mode},
    reservation::{self, Reservation},
    standing::{
        admits, byte, come_back, fits, fits_at, has_room, idle_at, limit_before, log_change, prepare, refuse,
        resets_at, used,
    },
    state::{Change, StateRef, States},
};

/// Decides `check` in `decision`, which must be open: a decision is too large to move. Limits that are not `counted`
/// admit everything. It makes two passes, because nothing may be written before all limits agree; rolling a cell twice
/// costs less than remembering it.
pub(crate) fn decide(
    check: &Check<'_>,
    counted: impl Fn(&Limit) -> bool,
    states: &mut impl States,
    decision: &mut Decision,
) {
    decision.limits.reserve_exact(check.limits());
    let mut beyond = false;
    for (index, part) in check.parts().enumerate() {
        beyond |= ask(check, index, part, &counted, states.state(index), decision);
    }
    let (allowed, mut statuses) = (decision.allowed, decision.limits.as_mut_slice());
    for (index, part) in check.parts().enumerate() {
        let (of_part, others) = statuses.split_at_mut(part.limits.len());
        statuses = others;
        let plain = allowed && !beyond && consumes(check) && part.floors.is_empty() && part.limits.iter().all(&counted);
        if plain && let Some(cells) = states.cells_in_order(index) {
            spend(check, part, cells, of_part);
            continue;
        }
        let mut before: Option<&LimitStatus> = None;
        for (limit, status) in part.limits.iter().zip(of_part) {
            if let Some((quota, before)) = limit_before(part, status.index()).zip(before) {
                status.enforced &= !status.idle || !fits(quota, before, 1);
            }
            take(check, part, limit, allowed, counted(limit), status, states);
            before = Some(status);
        }
    }
    refuse(decision);
}

/// Whether the check only takes its cost.
fn consumes(check: &Check<'_>) -> bool {
    check.purpose() == Purpose::Consume && check.cost() > 0
}

/// Consumes the price of limits that agreed from cells in their order. Nearly all checks come this way.
#[inline(always)]
fn spend(check: &Check<'_>, part: &Part<'_>, cells: &mut [Cell], statuses: &mut [LimitStatus]) {
    for ((limit, cell), status) in part.limits.iter().zip(cells).zip(statuses) {
        let (more, resets_at) = limit.quota().rule().spend(cell, limit.price(check.cost()), status.at);
        status.used = status.used.saturating_add(more);
        status.resets_at = resets_at;
        if status.limit - status.used < limit.price(1) {
            use_up(limit, cell, status);
        }
    }
}

/// Finds when a limit whose last unit was spent has a unit again.
#[cold]
#[inline(never)]
fn use_up(limit: &Limit, cell: &Cell, status: &mut LimitStatus) {
    let (rule, now) = (limit.quota().rule(), status.at);
    come_back(status, limit, || rule.fits_at(&rule.roll(Some(cell), now), limit.price(1)));
}

/// Asks the limits of one subject, and records their status before the check. True if one of them applies beyond another.
#[inline(always)]
fn ask(
    check: &Check<'_>,
    part_index: usize,
    part: &Part<'_>,
    counted: &impl Fn(&Limit) -> bool,
    state: StateRef<'_>,
    decision: &mut Decision,
) -> bool {
    let now = decision.at.as_micros();
    let mut beyond = false;
    for (index, limit) in part.limits.iter().enumerate() {
        let (used, size) = if part.floors.is_empty() && state.lists.is_none() {
            limit.quota().rule().peek(state.cell(limit.id(), index), now)
        } else {
            let (rolled, _) = prepare(part, index, limit, state, now);
            (used(check, limit, state, &rolled, now), limit.quota().rule().limit())
        };
        beyond |= limit.mode() == Mode::Beyond;
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
            enforced: limit.mode() != Mode::Count && counted(limit),
            idle: false,
            exhausted: false,
        });
    }
    if beyond {
        ask_beyond(check, part, counted, decision);
    }
    beyond
}

/// Asks the limits of the last part that apply beyond another, once the status of that one is known.
#[cold]
fn ask_beyond(check: &Check<'_>, part: &Part<'_>, counted: &impl Fn(&Limit) -> bool, decision: &mut Decision) {
    let first = decision.limits.len() - part.limits.len();
    let mut before = None;
    for (limit, status) in part.limits.iter().zip(decision.limits.iter_mut().skip(first)) {
        if let Some((quota, before)) = limit_before(part, status.index()).zip(before) {
            status.idle = fits(quota, before, check.cost());
            let admits = status.idle || check.cost() == 0 || fits(limit, status, check.cost());
            status.allowed &= admits || !counted(limit);
            decision.allowed &= status.allowed;
        }
        before = Some(&*status);
    }
}

/// Consumes or holds the price of a limit if the check is allowed, and records the limit's status after it.
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
    let price = if status.idle { 0 } else { limit.price(check.cost()) };
    let mut reservation = None;
    if !status.allowed {
        let fits_at = fits_at(limit, state, rolled, now, check.purpose().reservation(), check.cost());
        status.fits_at = fits_at.min(idle_at(check, part, status.index(), state, now, allowed, check.cost()));
    } else if allowed && counted && price > 0 {
        reservation = check.reserving(limit).map(|(id, life)| Reservation {
            cell: limit.id(),
            id: id.number(),
            amount: price,
            until: now + life,
        });
        if reservation.is_none() {
            status.used = status.used.saturating_add(rule.consume(&mut rolled, price));
            changed = true;
        }
    }
    let (of_part, mut own) = (status.part(), check.purpose().reservation());
    if let Some(rule) = rule.of_log() {
        if let Some(change) = log_change(limit, rule, state, if changed { price } else { 0 }, now).filter(|_| counted) {
            states.write(of_part, change);
            status.used = used(check, limit, states.state(of_part), &rolled, now);
        }
    } else if changed && counted {
        states.write_cell(of_part, status.index(), &limit.cell(&rolled));
    }
    status.resets_at = resets_at(limit, states.state(of_part), &rolled, now);
    if let Some(reservation) = reservation {
        reserve_too(check, limit, states.state(of_part).reservations(), reservation, status);
        states.write(of_part, Change::Reservation(reservation));
        own = None;
    }
    let index = status.index();
    come_back(status, limit, || {
        let state = states.state(of_part);
        fits_at(limit, state, rolled, now, own, 1).min(idle_at(check, part, index, state, now, allowed, 1))
    });
}

/// The status of a limit on which the check is about to hold its price, too.
#[cold]
fn reserve_too(
    check: &Check<'_>,
    limit: &Limit,
    reservations: &[Reservation],
    reservation: Reservation,
    status: &mut LimitStatus,
) {
    status.used += reservation.amount;
    if limit.quota().rule().only_reserves() {
        let others = reservation::last_end(reservations, reservation.cell, check.purpose().reservation(), status.at);
        status.resets_at = others.map_or(reservation.until, |others| others.max(reservation.until));
    }
}

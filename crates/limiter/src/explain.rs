//! Decisions computed from states without changing them: what another store decided, and
//! what a check would be answered.
use crate::check::Check;
use crate::decision::{Decision, LimitStatus};
use crate::limit::{Limit, Mode};
use crate::standing::{
    admits, byte, come_back, fits, fits_at, has_room, idle_at, limit_before, prepare, refuse, resets_at, used,
};
use crate::state::StateRef;

/// How the states arose, for a decision that is computed from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The check was allowed, so the states include its cost.
    #[cfg(feature = "redis")]
    Taken,
    /// The check was refused.
    #[cfg(feature = "redis")]
    Refused,
    /// Nothing has happened yet: the decision says what would happen.
    Asked,
}

/// Fills in the open decision on a check from the present states, and changes nothing. Limits that are not `counted`
/// admit everything. `unspent` units of what the states count as used were taken in advance.
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
            let before = limit_before(part, index).zip(decision.limits.last());
            let cost_to_come = if outcome.is_taken() { 0 } else { check.cost() };
            let idle = before.is_some_and(|(quota, before)| fits(quota, before, cost_to_come));
            let fits_here = idle || check.cost() == 0 || used.saturating_add(limit.price(check.cost())) <= size;
            let admitted = admits(check, limit, used, size) && (before.is_none() || fits_here);
            let allowed = outcome.is_taken() || !counted(limit) || room && admitted;
            let holds = outcome.is_taken() && !idle && check.reserving(limit).is_some();
            let held = if holds { limit.price(check.cost()) } else { 0 };
            let own = if held > 0 { None } else { check.purpose().reservation() };
            let fits_at = |rolled, cost| {
                let idle_at = idle_at(check, part, index, state, now, outcome.is_taken(), cost);
                fits_at(limit, state, rolled, now, own, cost).min(idle_at)
            };
            let mut status = LimitStatus {
                limit: size,
                used: (used + held - limit.price(unspent)).max(0),
                at: now,
                resets_at: resets_at(limit, state, &rolled, now),
                fits_at: if allowed { i64::MIN } else { fits_at(rolled, check.cost()) },
                part: byte(part_index),
                index: byte(index),
                allowed,
                enforced: limit.mode() != Mode::Count
                    && counted(limit)
                    && (!idle || before.is_some_and(|(quota, before)| !fits(quota, before, 1))),
                idle,
                exhausted: false,
            };
            come_back(&mut status, limit, || {
                limit.quota().rule().give_back(&mut rolled, limit.price(unspent), now);
                fits_at(rolled, 1)
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

//! Decisions computed from states without changing them: what another store decided, and
//! what a check would be answered.
use crate::check::Check;
use crate::decision::{Decision, LimitStatus};
use crate::limit::{Limit, Mode};
use crate::standing::{admits, byte, come_back, fits_at, has_room, prepare, refuse, resets_at, used};
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
            let allowed = outcome.is_taken() || !counted(limit) || room && admits(check, limit, used, size);
            let held =
                if outcome.is_taken() { check.reserving(limit).map_or(0, |_| limit.price(check.cost())) } else { 0 };
            let own = if held > 0 { None } else { check.purpose().reservation() };
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

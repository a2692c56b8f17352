//! The store's answer to one check.
use smallvec::SmallVec;

use crate::{
    algorithm::Cell,
    check::Check,
    decision::Decision,
    explain::{Outcome, explain},
    state::{Lists, StateRef},
};

/// The state of one subject after the store's step.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) cells: SmallVec<[Cell; 2]>,
    pub(super) lists: Option<Box<Lists>>,
}

impl State {
    pub(super) fn as_ref(&self) -> StateRef<'_> {
        StateRef { cells: &self.cells, lists: self.lists.as_deref() }
    }
}

/// The states of a request's subjects, in its order.
pub(super) type States = SmallVec<[State; 1]>;

/// The script's answer to one check.
#[derive(Debug)]
pub(super) struct Answer {
    /// The deciding clock, µs.
    pub(super) now: i64,
    pub(super) verdict: Verdict,
    pub(super) states: States,
    /// Units that this node has taken in advance and not spent. The cells count them as used.
    pub(super) unspent: u32,
}

impl Answer {
    /// The decision on the check of the request.
    pub(super) fn explain(&self, check: &Check<'_>, outcome: Outcome) -> Decision {
        explain_states(check, outcome, &self.states, self.unspent, self.now)
    }
}

/// The decision on a check from states that a store left at `now`.
pub(super) fn explain_states(check: &Check<'_>, outcome: Outcome, states: &States, unspent: u32, now: i64) -> Decision {
    let mut decision = Decision::open(now);
    decision.limits.reserve_exact(check.limits());
    let state = |part: usize| states.get(part).map_or(StateRef::default(), State::as_ref);
    explain(check, outcome, |_| true, state, unspent, &mut decision);
    decision
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused,
    Allowed,
    /// Allowed, and this much more was consumed in advance, for this node to spend.
    AllowedWithSlice(u32),
    /// The deciding clock is outside a calendar period of the request: ask again for `now`.
    Stale,
}

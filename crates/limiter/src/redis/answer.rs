//! What the store said about one check.
use smallvec::SmallVec;

use crate::{
    algorithm::Cell,
    check::Check,
    decision::Decision,
    explain::{Outcome, explain},
    state::{Lists, StateRef},
};

/// The state of one subject, as the store left it.
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

/// The states of a question's subjects, in its order.
pub(super) type States = SmallVec<[State; 1]>;

/// What the script said about one check.
#[derive(Debug)]
pub(super) struct Answer {
    /// The clock that decided, µs.
    pub(super) now: i64,
    pub(super) verdict: Verdict,
    pub(super) states: States,
    /// What this node has taken in advance and not spent: the cells count it as used.
    pub(super) unspent: u32,
}

impl Answer {
    /// The decision on the check that was asked about.
    pub(super) fn explain(&self, check: &Check<'_>, outcome: Outcome) -> Decision {
        explain_states(check, outcome, &self.states, self.unspent, self.now)
    }
}

/// The decision on a check by states that a store left at `now`.
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
    /// Allowed, and this much more was consumed, to be spent without asking.
    AllowedWithSlice(u32),
    /// The clock that decides is outside a calendar period the question was asked for: ask again for `now`.
    Stale,
}

//! The bytes that come back from the script, and that stand in Redis: packed cells. `script/policies.lua` names the layout.
use smallvec::SmallVec;

use super::question::Question;
use crate::algorithm::{Cell, Log, Moment, Numbers};
use crate::check::Check;
use crate::decision::Decision;
use crate::explain::{Outcome, explain};
use crate::hold::Hold;
use crate::state::{Lists, StateRef};

/// A value with cells only, one with holds behind them, and one with logs behind those.
const PLAIN: u8 = 1;
const WITH_HOLDS: u8 = 2;
const WITH_LOGS: u8 = 3;

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
/// The script's answers to `questions`, in their order; None when the reply is not of the expected shape.
pub(super) fn read_reply(mut reply: &[u8], questions: &[&Question]) -> Option<Vec<Answer>> {
    let now = take_double(&mut reply)?;
    let mut answers: Vec<Option<Answer>> = questions.iter().map(|_| None).collect();
    for turn in 0..3 {
        for (answer, question) in answers.iter_mut().zip(questions) {
            if question.way().turn() == turn {
                *answer = Some(read_answer(&mut reply, question, now)?);
            }
        }
    }
    answers.into_iter().collect()
}

fn read_answer(reply: &mut &[u8], question: &Question, now: i64) -> Option<Answer> {
    let verdict = match take(reply)? {
        [0] => Verdict::Refused,
        [1] => Verdict::Allowed,
        [3] => Verdict::AllowedWithSlice(u32::try_from(take_double(reply)?).ok()?),
        [_] => return Some(Answer { now, verdict: Verdict::Stale, states: States::new(), unspent: 0 }),
    };
    let states = question.parts.iter().map(|_| read_state(reply)).collect::<Option<_>>()?;
    Some(Answer { now, verdict, states, unspent: 0 })
}

/// A subject's state from its value; None when something else lies there.
pub(super) fn read_value(mut value: &[u8]) -> Option<State> {
    read_state(&mut value).filter(|_| value.is_empty())
}

fn read_state(reply: &mut &[u8]) -> Option<State> {
    let [version, cells] = take(reply)?;
    let cells = (0..cells).map(|_| {
        let id = take_double(reply)?.unsigned_abs();
        let numbers = Numbers { a: take_double(reply)?, b: take_double(reply)?, c: take_double(reply)? };
        Some(Cell { id, numbers, until: take_double(reply)? })
    });
    let cells = cells.collect::<Option<_>>()?;
    let lists = match version {
        PLAIN => None,
        WITH_HOLDS => Some(Lists { holds: read_holds(reply)?, logs: Vec::new() }),
        WITH_LOGS => Some(Lists { holds: read_holds(reply)?, logs: read_logs(reply)? }),
        _ => return None,
    };
    Some(State { cells, lists: lists.map(Box::new) })
}

fn read_holds(reply: &mut &[u8]) -> Option<SmallVec<[Hold; 1]>> {
    let count = u16::from_le_bytes(take(reply)?);
    let holds = (0..count).map(|_| {
        let (cell, id) = (take_double(reply)?.unsigned_abs(), take_double(reply)?.unsigned_abs());
        Some(Hold { cell, id, amount: take_double(reply)?, until: take_double(reply)? })
    });
    holds.collect()
}

fn read_logs(reply: &mut &[u8]) -> Option<Vec<Log>> {
    let count = u8::from_le_bytes(take(reply)?);
    (0..count).map(|_| read_log(reply)).collect()
}

fn read_log(reply: &mut &[u8]) -> Option<Log> {
    let (id, until) = (take_double(reply)?.unsigned_abs(), take_double(reply)?);
    let units = u32::from_le_bytes(take(reply)?);
    let moments =
        (0..u16::from_le_bytes(take(reply)?)).map(|_| Some(Moment::from_bits(u64::from_le_bytes(take(reply)?))));
    Some(Log::new(id, until, moments.collect::<Option<Vec<_>>>()?).with_units(units.into()))
}

fn take<const N: usize>(reply: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = reply.split_first_chunk::<N>()?;
    *reply = rest;
    Some(*head)
}

fn take_double(reply: &mut &[u8]) -> Option<i64> {
    // Whole and below 2^53 by the script's construction, so the cast cuts nothing.
    take::<8>(reply).map(|bytes| f64::from_le_bytes(bytes) as i64)
}

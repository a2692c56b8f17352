//! The bytes that go to the script and come back: policies and checks out, packed cells in. `script/policies.lua` names the layout.
use std::collections::HashMap;

use redis::Cmd;
use smallvec::SmallVec;

use super::front::{Knowledge, Terms};
use crate::algorithm::{Cell, Concurrency, FixedWindow, Numbers, Rule, SLICE_LIFE, SlidingWindow, TokenBucket};
use crate::check::{Check, Part, Purpose};
use crate::hold::{Hold, HoldId};
use crate::limit::{Limit, Mode};
use crate::state::StateRef;
use crate::subject::Subject;
use crate::time::Timestamp;
use crate::window::{Period, Window};

/// Numbers in the script are doubles: integers stay exact below this.
const EXACT: i64 = 1 << 52;
/// A value with cells only, and one with holds behind them.
const PLAIN: u8 = 1;
const WITH_HOLDS: u8 = 2;

/// The state of one subject, as the store left it.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) cells: SmallVec<[Cell; 2]>,
    pub(super) holds: Vec<Hold>,
}

impl State {
    pub(super) fn as_ref(&self) -> StateRef<'_> {
        StateRef { cells: &self.cells, holds: &self.holds }
    }
}

/// The states of a question's subjects, in its order.
pub(super) type States = SmallVec<[State; 1]>;

/// A check as the queue holds it: owned, and small.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) cost: u32,
    purpose: Purpose,
    /// To be taken in advance beside the cost, where the limits can spare it.
    pub(super) slice: u32,
    /// Taken in advance earlier and not spent.
    pub(super) returns: SmallVec<[Return; 1]>,
    /// The caller's clock, where that decides. Only checks of one moment share a call.
    pub(super) now: Option<i64>,
    pub(super) knowledge: Knowledge,
    parts: SmallVec<[QuestionPart; 1]>,
}

/// An amount that every limit of a question gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Return {
    pub(super) amount: u32,
    /// When it was consumed, by the deciding clock: its window gets it back.
    pub(super) consumed_at: i64,
}

#[derive(Debug, Clone)]
struct QuestionPart {
    subject: Subject,
    policies: SmallVec<[Policy; 2]>,
    floors: SmallVec<[QuestionFloor; 1]>,
}

/// How the script is told of a check, and in which order it answers.
#[derive(Debug, Clone, Copy)]
enum Way<'a> {
    Plain(&'a QuestionPart),
    Floored(&'a QuestionPart, QuestionFloor),
    Other,
}

/// The limit's index, the period's start, and what was used in it at least.
type QuestionFloor = (u8, i64, i64);

/// A limit as the script knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Policy {
    kind: Kind,
    role: Role,
    id: u64,
    limit: i64,
    parameters: [i64; 4],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
enum Kind {
    Sliding = 1,
    Every = 2,
    Calendar = 3,
    Bucket = 4,
    Concurrency = 5,
}

/// What a limit means to the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
enum Role {
    Enforced = 0,
    Counted = 1,
    /// Bounds the slices of another limit: pays for slices only.
    Guard = 2,
}

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused,
    Allowed,
    /// Allowed, and this much more was consumed, to be spent without asking.
    AllowedWithSlice(u32),
    /// The clock that decides is outside a calendar period the question was asked for: ask again for `now`.
    Stale,
}

impl Question {
    /// `around` is the best guess at the deciding clock: it picks the calendar periods.
    pub(super) fn new(check: &Check<'_>, terms: Terms, now: Option<i64>, around: i64) -> Self {
        let Terms { slice, returns, knowledge } = terms;
        let mut parts: SmallVec<[QuestionPart; 1]> =
            check.parts().map(|part| QuestionPart::new(part, around)).collect();
        if slice > 0 {
            for (asked, part) in parts.iter_mut().zip(check.parts()) {
                asked.policies.extend(part.limits.iter().filter_map(Policy::guard));
            }
        }
        Self { cost: check.cost(), purpose: check.purpose(), slice, returns, now, knowledge, parts }
    }

    /// The subjects' hashes, in the order of the answer's cells.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.parts.iter().map(|part| &part.subject)
    }

    /// Of all its subjects.
    pub(super) fn partition(&self) -> Option<u8> {
        self.subjects().next().map(Subject::partition)
    }

    /// The same limits, to give back and ask for nothing.
    pub(super) fn returning(&self, returns: impl Iterator<Item = Return>, now: Option<i64>) -> Self {
        Self { cost: 0, purpose: Purpose::Consume, slice: 0, returns: returns.collect(), now, ..self.clone() }
    }

    /// The first moment at which a window of these limits ends, given the states they were left with.
    pub(super) fn first_end(&self, states: &[State]) -> Option<i64> {
        let ends = self.parts.iter().zip(states).flat_map(|(part, state)| {
            part.policies.iter().map(|policy| state.as_ref().cell(policy.id, 0).map(|cell| policy.end(cell)))
        });
        ends.min().flatten()
    }

    /// Plain is a check of one subject and windows only, for nothing but its cost.
    fn way(&self) -> Way<'_> {
        let [part] = self.parts.as_slice() else { return Way::Other };
        let bare = self.purpose == Purpose::Consume && self.slice == 0 && self.returns.is_empty();
        if !bare || part.policies.is_empty() || !part.policies.iter().all(Policy::is_window) {
            return Way::Other;
        }
        match part.floors.as_slice() {
            [] => Way::Plain(part),
            [floor] => Way::Floored(part, *floor),
            _ => Way::Other,
        }
    }

    /// Whether the answer is a decision: what it refuses stays refused.
    pub(super) fn is_decision(&self) -> bool {
        matches!(self.purpose, Purpose::Consume | Purpose::Acquire(_) | Purpose::Reserve(..))
    }

    /// What the check is to do, as the script knows it: a number, and the hold's name and life.
    fn operation(&self) -> (u8, Option<(HoldId, i64)>) {
        match self.purpose {
            Purpose::Consume | Purpose::GiveBack(_) => (0, None),
            Purpose::Acquire(id) => (1, Some((id, 0))),
            Purpose::Reserve(id, life) => (2, Some((id, life))),
            Purpose::Settle(id) => (3, Some((id, 0))),
            Purpose::Renew(id, life) => (4, Some((id, life))),
        }
    }
}

impl Way<'_> {
    /// Its place in the script's order.
    fn turn(self) -> u8 {
        match self {
            Self::Plain(_) => 0,
            Self::Floored(..) => 1,
            Self::Other => 2,
        }
    }
}

impl QuestionPart {
    fn new(part: &Part<'_>, around: i64) -> Self {
        let floor = |floor: &crate::check::Floor| {
            let used = i64::try_from(floor.used).unwrap_or(EXACT).min(EXACT);
            (floor.limit_index.to_le_bytes()[0], floor.period_start.clamped(), used)
        };
        Self {
            subject: part.subject,
            policies: part.limits.iter().map(|limit| Policy::new(limit, around)).collect(),
            floors: part.floors.iter().map(floor).collect(),
        }
    }
}

impl Policy {
    fn new(limit: &Limit, around: i64) -> Self {
        let weight = i64::from(limit.weight());
        let (kind, parameters) = match limit.quota().rule() {
            Rule::SlidingWindow(SlidingWindow { window, tick, ticks, .. }) => {
                (Kind::Sliding, [*window, *tick, *ticks, weight])
            }
            Rule::FixedWindow(FixedWindow { window: Window::Every(length), .. }) => {
                (Kind::Every, [crate::time::micros(*length), 0, 0, weight])
            }
            Rule::FixedWindow(FixedWindow { window: Window::Calendar(calendar), .. }) => {
                let (Period { start, end }, next) = calendar.current_and_next(Timestamp::from_micros(around));
                (Kind::Calendar, [start.as_micros(), end.as_micros(), next.as_micros(), weight])
            }
            Rule::TokenBucket(TokenBucket { window, token, flow, .. }) => {
                (Kind::Bucket, [*window, *token, *flow, weight])
            }
            Rule::Concurrency(Concurrency { life, .. }) => (Kind::Concurrency, [*life, 0, 0, weight]),
        };
        let role = if limit.mode() == Mode::Count { Role::Counted } else { Role::Enforced };
        Self { kind, role, id: limit.id(), limit: limit.quota().rule().limit(), parameters }
    }

    /// For a limit that slices can overshoot: at most half of that may be taken in any tenth of a second, so no more than
    /// all of it is out at any moment.
    fn guard(limit: &Limit) -> Option<Self> {
        let overshoot = limit.quota().rule().max_overshoot();
        let parameters = [SLICE_LIFE, 0, 0, i64::from(limit.weight())];
        let guard = Self { kind: Kind::Every, role: Role::Guard, id: limit.id() ^ 1, limit: overshoot / 2, parameters };
        (overshoot > 0).then_some(guard)
    }

    fn is_window(&self) -> bool {
        matches!(self.kind, Kind::Sliding | Kind::Every | Kind::Calendar) && self.role != Role::Guard
    }

    /// When the window of a cell that was just written ends.
    fn end(&self, cell: &Cell) -> i64 {
        let [length, ..] = self.parameters;
        match (self.role, self.kind) {
            (Role::Guard, _) | (_, Kind::Bucket | Kind::Concurrency) => i64::MAX,
            (_, Kind::Sliding) => cell.until - length,
            (_, Kind::Every | Kind::Calendar) => cell.until,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.push(self.role as u8);
        double(out, i64::try_from(self.id).unwrap_or(EXACT));
        double(out, self.limit);
        for parameter in self.parameters {
            double(out, parameter);
        }
    }
}

/// The Redis key of a subject's value. Its partition is the hash tag, so that a cluster keeps a partition together.
pub(super) fn key(subject: &Subject) -> String {
    let [high, low] = subject.hash();
    format!("tg:{{{}}}:s:{high:016x}{low:016x}", subject.partition())
}

/// The keys and arguments of one call, as they come together.
#[derive(Debug, Default)]
struct Call {
    subjects: Vec<Subject>,
    numbers: HashMap<Subject, u16>,
    known: HashMap<Policy, u16>,
    policies: Vec<u8>,
    known_shapes: HashMap<SmallVec<[u8; 16]>, u16>,
    shapes: Vec<u8>,
    plain: Vec<u8>,
    floored: Vec<u8>,
    others: Vec<u8>,
}

impl Call {
    fn key(&mut self, subject: Subject) -> [u8; 2] {
        let number = *self.numbers.entry(subject).or_insert_with(|| {
            self.subjects.push(subject);
            index(self.subjects.len())
        });
        number.to_le_bytes()
    }

    fn policy(&mut self, policy: &Policy) -> [u8; 2] {
        let next = index(self.known.len() + 1);
        let number = *self.known.entry(*policy).or_insert_with(|| {
            policy.write(&mut self.policies);
            next
        });
        number.to_le_bytes()
    }

    /// The numbers of a plain check's key and shape.
    fn key_and_shape(&mut self, question: &Question, part: &QuestionPart) -> [u8; 4] {
        let mut shape = SmallVec::<[u8; 16]>::new();
        shape.extend(question.cost.to_le_bytes());
        shape.push(small(part.policies.len()));
        for policy in &part.policies {
            shape.extend(self.policy(policy));
        }
        let next = index(self.known_shapes.len() + 1);
        let number = *self.known_shapes.entry(shape).or_insert_with_key(|shape| {
            self.shapes.extend(shape);
            next
        });
        let ([k1, k2], [s1, s2]) = (self.key(part.subject), number.to_le_bytes());
        [k1, k2, s1, s2]
    }

    fn add_plain(&mut self, question: &Question, part: &QuestionPart) {
        let key_and_shape = self.key_and_shape(question, part);
        self.plain.extend(key_and_shape);
    }

    fn add_floored(&mut self, question: &Question, part: &QuestionPart, floor: QuestionFloor) {
        let key_and_shape = self.key_and_shape(question, part);
        self.floored.extend(key_and_shape);
        write_floor(&mut self.floored, floor);
    }

    fn add_other(&mut self, question: &Question) {
        let (operation, hold) = question.operation();
        self.others.extend(question.cost.to_le_bytes());
        self.others.extend(question.slice.to_le_bytes());
        self.others.extend([operation, small(question.returns.len()), small(question.parts.len())]);
        if let Some((id, life)) = hold {
            double(&mut self.others, i64::try_from(id.number()).unwrap_or(EXACT));
            double(&mut self.others, life);
        }
        for part in &question.parts {
            let key = self.key(part.subject);
            self.others.extend(key);
            self.others.extend([small(part.policies.len()), small(part.floors.len())]);
            for policy in &part.policies {
                let number = self.policy(policy);
                self.others.extend(number);
            }
            part.floors.iter().for_each(|floor| write_floor(&mut self.others, *floor));
        }
        for Return { amount, consumed_at } in &question.returns {
            double(&mut self.others, i64::from(*amount));
            double(&mut self.others, *consumed_at);
        }
    }
}

/// The script's keys and arguments for `questions`, after the command and the script's name.
pub(super) fn write_call(command: &mut Cmd, questions: &[&Question]) {
    let mut call = Call::default();
    for question in questions {
        match question.way() {
            Way::Plain(part) => call.add_plain(question, part),
            Way::Floored(part, floor) => call.add_floored(question, part, floor),
            Way::Other => call.add_other(question),
        }
    }
    command.arg(call.subjects.len());
    for subject in &call.subjects {
        command.arg(key(subject));
    }
    command.arg(call.policies).arg(call.shapes).arg(call.plain).arg(call.others);
    match questions.first().and_then(|question| question.now) {
        Some(now) => command.arg(now),
        None => command.arg(""),
    };
    command.arg(call.floored);
}

/// The script counts limits from 1.
fn write_floor(out: &mut Vec<u8>, (limit, start, used): QuestionFloor) {
    out.push(limit.saturating_add(1));
    double(out, start);
    double(out, used);
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
    let holds = match version {
        PLAIN => 0,
        WITH_HOLDS => u16::from_le_bytes(take(reply)?),
        _ => return None,
    };
    let holds = (0..holds).map(|_| {
        let (cell, id) = (take_double(reply)?.unsigned_abs(), take_double(reply)?.unsigned_abs());
        Some(Hold { cell, id, amount: take_double(reply)?, until: take_double(reply)? })
    });
    Some(State { cells, holds: holds.collect::<Option<_>>()? })
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

fn double(out: &mut Vec<u8>, whole: i64) {
    out.extend((whole as f64).to_le_bytes());
}

/// Counts within a check are bounded by its validation, far below 255.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Numbers of keys and policies within a call: at most 128 checks of 8 parts of 32 limits, so below 2^16.
fn index(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

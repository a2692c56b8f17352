//! A request to the script: a check and its limits, in the form in which the queue holds them.
use smallvec::SmallVec;

use super::answer::{Answer, State, Verdict};
use crate::{
    algorithm::{Cell, Concurrency, FixedWindow, Rule, SLICE_LIFE, SlidingLog, SlidingWindow, TokenBucket},
    check::{Check, Part, Purpose},
    limit::{Limit, Mode},
    period::Period,
    reservation::ReservationId,
    subject::Subject,
    time::Timestamp,
    window::Window,
};

/// Numbers in the script are doubles: integers are exact below this.
pub(super) const EXACT: i64 = 1 << 52;

/// What a request to the store contains in addition to its check.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub(super) slice: u32,
    pub(super) returns: SmallVec<[Return; 1]>,
    pub(super) knowledge: Knowledge,
}

/// Shows whether an answer is still current when it arrives.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Knowledge {
    pub(super) fingerprint: u64,
    /// Resets that the shard had seen when the request was made.
    pub(super) resets: u64,
}

/// A check in the form in which the queue holds it: owned, and small.
#[derive(Debug, Clone)]
pub(super) struct StoreRequest {
    pub(super) cost: u32,
    pub(super) purpose: Purpose,
    /// Units to take in advance, on top of the cost, if the limits can spare them.
    pub(super) slice: u32,
    /// Units that were taken in advance and not spent.
    pub(super) returns: SmallVec<[Return; 1]>,
    /// The caller's clock, if that decides. Only checks of one moment share a call.
    pub(super) now: Option<i64>,
    pub(super) knowledge: Knowledge,
    pub(super) parts: SmallVec<[RequestPart; 1]>,
}

/// An amount to give back to every limit of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Return {
    pub(super) amount: u32,
    /// When it was consumed, by the deciding clock: that moment's window gets it back.
    pub(super) consumed_at: i64,
}

#[derive(Debug, Clone)]
pub(super) struct RequestPart {
    pub(super) subject: Subject,
    pub(super) policies: SmallVec<[Policy; 2]>,
    pub(super) floors: SmallVec<[RequestFloor; 1]>,
}

/// How the script receives a check, and in which order it answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Encoding<'a> {
    Plain(&'a RequestPart),
    Floored(&'a RequestPart, RequestFloor),
    Other,
}

/// The limit's index, the period's start, and the least that was used in it.
pub(super) type RequestFloor = (u8, i64, i64);

/// A limit in the form that the script uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Policy {
    pub(super) kind: Kind,
    pub(super) role: Role,
    pub(super) id: u64,
    pub(super) limit: i64,
    pub(super) parameters: [i64; 4],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Sliding = 1,
    Every = 2,
    Calendar = 3,
    Bucket = 4,
    Concurrency = 5,
    Log = 6,
}

/// What a limit does in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Role {
    Enforced = 0,
    Counted = 1,
    /// Bounds the slices of another limit: only slices consume it.
    Guard = 2,
    /// Enforced for a cost that does not fit into the policy before it.
    Beyond = 3,
}

impl StoreRequest {
    /// `around` is the best guess at the deciding clock; it selects the calendar periods.
    pub(super) fn new(check: &Check<'_>, terms: Terms, now: Option<i64>, around: i64) -> Self {
        let Terms { slice, returns, knowledge } = terms;
        let mut parts: SmallVec<[RequestPart; 1]> = check.parts().map(|part| RequestPart::new(part, around)).collect();
        if slice > 0 {
            for (asked, part) in parts.iter_mut().zip(check.parts()) {
                asked.policies.extend(part.limits.iter().filter_map(Policy::guard));
            }
        }
        let mut request = Self { cost: check.cost(), purpose: check.purpose(), slice, returns, now, knowledge, parts };
        if let Purpose::Peek(_) = check.purpose() {
            request.peek();
        }
        request
    }

    /// Reads the states only. Even a floor does not change them.
    fn peek(&mut self) {
        (self.cost, self.purpose) = (0, Purpose::Consume);
        self.parts.iter_mut().for_each(|part| part.floors.clear());
    }

    /// The subjects' hashes, in the order of the answer's cells.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.parts.iter().map(|part| &part.subject)
    }

    /// The partition of all its subjects.
    pub(super) fn partition(&self) -> Option<u8> {
        self.subjects().next().map(Subject::partition)
    }

    /// A request of the same limits that only gives back.
    pub(super) fn returning(&self, returns: impl Iterator<Item = Return>, now: Option<i64>) -> Self {
        Self { cost: 0, purpose: Purpose::Consume, slice: 0, returns: returns.collect(), now, ..self.clone() }
    }

    /// The request that gives back what this one consumed; None when it consumed nothing, or made a reservation.
    pub(super) fn undone(&self, answer: &Answer) -> Option<Self> {
        let taken = matches!(answer.verdict, Verdict::Allowed | Verdict::AllowedWithSlice(_));
        if !taken || self.cost == 0 || self.purpose != Purpose::Consume {
            return None;
        }
        let cost = Return { amount: self.cost, consumed_at: answer.now };
        let mut undone = self.returning(std::iter::once(cost), self.now);
        undone.parts.iter_mut().for_each(|part| part.policies.retain(|policy| policy.role != Role::Guard));
        Some(undone)
    }

    /// The first moment at which a window of these limits ends, according to their states.
    pub(super) fn first_end(&self, states: &[State]) -> Option<i64> {
        let ends = self.parts.iter().zip(states).flat_map(|(part, state)| {
            part.policies.iter().map(|policy| state.as_ref().cell(policy.id, 0).map(|cell| policy.end(cell)))
        });
        ends.min().flatten()
    }

    /// `Plain` for a check of one subject and windows only, none of them beyond another, that just consumes its cost.
    pub(super) fn encoding(&self) -> Encoding<'_> {
        let [part] = self.parts.as_slice() else { return Encoding::Other };
        let bare = self.purpose == Purpose::Consume && self.slice == 0 && self.returns.is_empty();
        if !bare || part.policies.is_empty() || !part.policies.iter().all(Policy::is_window) {
            return Encoding::Other;
        }
        match part.floors.as_slice() {
            [] => Encoding::Plain(part),
            [floor] => Encoding::Floored(part, *floor),
            _ => Encoding::Other,
        }
    }

    /// Whether the answer is a decision, so that a refusal may be remembered.
    pub(super) fn is_decision(&self) -> bool {
        matches!(self.purpose, Purpose::Consume | Purpose::Acquire(_) | Purpose::Reserve(..))
    }

    /// The operation in the script's form: a number, and the reservation's name and life.
    pub(super) fn operation(&self) -> (u8, Option<(ReservationId, i64)>) {
        match self.purpose {
            Purpose::Consume | Purpose::Peek(_) | Purpose::GiveBack(_) => (0, None),
            Purpose::Acquire(id) => (1, Some((id, 0))),
            Purpose::Reserve(id, life) => (2, Some((id, life))),
            Purpose::Settle(id) => (3, Some((id, 0))),
            Purpose::Renew(id, life) => (4, Some((id, life))),
        }
    }
}

impl Encoding<'_> {
    /// Its place in the script's order.
    pub(super) fn turn(self) -> u8 {
        match self {
            Self::Plain(_) => 0,
            Self::Floored(..) => 1,
            Self::Other => 2,
        }
    }
}

impl RequestPart {
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
            Rule::SlidingLog(SlidingLog { window, .. }) => (Kind::Log, [*window, 0, 0, weight]),
            Rule::Concurrency(Concurrency { life, .. }) => (Kind::Concurrency, [*life, 0, 0, weight]),
        };
        let role = match limit.mode() {
            Mode::Enforce => Role::Enforced,
            Mode::Count => Role::Counted,
            Mode::Beyond => Role::Beyond,
        };
        Self { kind, role, id: limit.id(), limit: limit.quota().rule().limit(), parameters }
    }

    /// For a limit that slices can overshoot: a tenth of a second may take at most half of the overshoot, so at most
    /// all of it is outstanding at any moment.
    fn guard(limit: &Limit) -> Option<Self> {
        let overshoot = limit.quota().rule().max_overshoot();
        let parameters = [SLICE_LIFE, 0, 0, i64::from(limit.weight())];
        let guard = Self { kind: Kind::Every, role: Role::Guard, id: limit.id() ^ 1, limit: overshoot / 2, parameters };
        (overshoot > 0).then_some(guard)
    }

    /// Whether the script's shortest ways know it.
    fn is_window(&self) -> bool {
        let windows = matches!(self.kind, Kind::Sliding | Kind::Every | Kind::Calendar);
        windows && matches!(self.role, Role::Enforced | Role::Counted)
    }

    /// When the window of a cell that was just written ends.
    fn end(&self, cell: &Cell) -> i64 {
        let [length, ..] = self.parameters;
        match (self.role, self.kind) {
            (Role::Guard, _) | (_, Kind::Bucket | Kind::Log | Kind::Concurrency) => i64::MAX,
            (_, Kind::Sliding) => cell.until - length,
            (_, Kind::Every | Kind::Calendar) => cell.until,
        }
    }
}

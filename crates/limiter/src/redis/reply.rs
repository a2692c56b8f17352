//! The bytes that the script returns and Redis stores: packed cells. `script/policies.lua` specifies the layout.
use smallvec::SmallVec;

use super::{
    answer::{Answer, State, States, Verdict},
    request::StoreRequest,
};
use crate::{
    algorithm::{Cell, Log, Moment, Numbers},
    reservation::Reservation,
    state::Lists,
};

/// A value with cells only; one with reservations after them; one with logs after those.
const PLAIN: u8 = 1;
const WITH_RESERVATIONS: u8 = 2;
const WITH_LOGS: u8 = 3;

/// The script's answers to `requests`, in their order; None when the reply does not have the expected form.
pub(super) fn read_reply(mut reply: &[u8], requests: &[&StoreRequest]) -> Option<Vec<Answer>> {
    let now = take_double(&mut reply)?;
    let mut answers: Vec<Option<Answer>> = requests.iter().map(|_| None).collect();
    for turn in 0..3 {
        for (answer, request) in answers.iter_mut().zip(requests) {
            if request.encoding().turn() == turn {
                *answer = Some(read_answer(&mut reply, request, now)?);
            }
        }
    }
    answers.into_iter().collect()
}

fn read_answer(reply: &mut &[u8], request: &StoreRequest, now: i64) -> Option<Answer> {
    let verdict = match take(reply)? {
        [0] => Verdict::Refused,
        [1] => Verdict::Allowed,
        [3] => Verdict::AllowedWithSlice(u32::try_from(take_double(reply)?).ok()?),
        [_] => return Some(Answer { now, verdict: Verdict::Stale, states: States::new(), unspent: 0 }),
    };
    let states = request.parts.iter().map(|_| read_state(reply)).collect::<Option<_>>()?;
    Some(Answer { now, verdict, states, unspent: 0 })
}

/// A subject's state from its value; None when the value is something else.
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
        WITH_RESERVATIONS => Some(Lists { reservations: read_reservations(reply)?, logs: Vec::new() }),
        WITH_LOGS => Some(Lists { reservations: read_reservations(reply)?, logs: read_logs(reply)? }),
        _ => return None,
    };
    Some(State { cells, lists: lists.map(Box::new) })
}

fn read_reservations(reply: &mut &[u8]) -> Option<SmallVec<[Reservation; 1]>> {
    let count = u16::from_le_bytes(take(reply)?);
    let reservations = (0..count).map(|_| {
        let (cell, id) = (take_double(reply)?.unsigned_abs(), take_double(reply)?.unsigned_abs());
        Some(Reservation { cell, id, amount: take_double(reply)?, until: take_double(reply)? })
    });
    reservations.collect()
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
    // The script writes whole numbers below 2^53 only, so the cast loses nothing.
    take::<8>(reply).map(|bytes| f64::from_le_bytes(bytes) as i64)
}

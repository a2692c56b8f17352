//! The bytes that go to the script: policies and checks. `script/policies.lua` specifies the layout.
use std::collections::HashMap;

use redis::Cmd;
use smallvec::SmallVec;

use super::request::{EXACT, Encoding, Policy, RequestFloor, RequestPart, Return, StoreRequest};
use crate::subject::Subject;

/// The Redis key of a subject's value. Its partition is the hash tag, so that a cluster keeps a partition together.
pub(super) fn key(subject: &Subject) -> String {
    let [high, low] = subject.hash();
    format!("tg:{{{}}}:s:{high:016x}{low:016x}", subject.partition())
}
impl Policy {
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

/// The keys and arguments of one call while they are collected.
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

    /// The indexes of a plain check's key and shape.
    fn key_and_shape(&mut self, request: &StoreRequest, part: &RequestPart) -> [u8; 4] {
        let mut shape = SmallVec::<[u8; 16]>::new();
        shape.extend(request.cost.to_le_bytes());
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

    fn add_plain(&mut self, request: &StoreRequest, part: &RequestPart) {
        let key_and_shape = self.key_and_shape(request, part);
        self.plain.extend(key_and_shape);
    }

    fn add_floored(&mut self, request: &StoreRequest, part: &RequestPart, floor: RequestFloor) {
        let key_and_shape = self.key_and_shape(request, part);
        self.floored.extend(key_and_shape);
        write_floor(&mut self.floored, floor);
    }

    fn add_other(&mut self, request: &StoreRequest) {
        let (operation, reservation) = request.operation();
        self.others.extend(request.cost.to_le_bytes());
        self.others.extend(request.slice.to_le_bytes());
        self.others.extend([operation, small(request.returns.len()), small(request.parts.len())]);
        if let Some((id, life)) = reservation {
            double(&mut self.others, i64::try_from(id.number()).unwrap_or(EXACT));
            double(&mut self.others, life);
        }
        for part in &request.parts {
            let key = self.key(part.subject);
            self.others.extend(key);
            self.others.extend([small(part.policies.len()), small(part.floors.len())]);
            for policy in &part.policies {
                let number = self.policy(policy);
                self.others.extend(number);
            }
            part.floors.iter().for_each(|floor| write_floor(&mut self.others, *floor));
        }
        for Return { amount, consumed_at } in &request.returns {
            double(&mut self.others, i64::from(*amount));
            double(&mut self.others, *consumed_at);
        }
    }
}

/// Writes the script's keys and arguments for `requests`, after the command and the script's name.
pub(super) fn write_call(command: &mut Cmd, requests: &[&StoreRequest]) {
    let mut call = Call::default();
    for request in requests {
        match request.encoding() {
            Encoding::Plain(part) => call.add_plain(request, part),
            Encoding::Floored(part, floor) => call.add_floored(request, part, floor),
            Encoding::Other => call.add_other(request),
        }
    }
    command.arg(call.subjects.len());
    for subject in &call.subjects {
        command.arg(key(subject));
    }
    command.arg(call.policies).arg(call.shapes).arg(call.plain).arg(call.others);
    match requests.first().and_then(|request| request.now) {
        Some(now) => command.arg(now),
        None => command.arg(""),
    };
    command.arg(call.floored);
}

/// The script numbers limits from 1.
fn write_floor(out: &mut Vec<u8>, (limit, start, used): RequestFloor) {
    out.push(limit.saturating_add(1));
    double(out, start);
    double(out, used);
}
fn double(out: &mut Vec<u8>, whole: i64) {
    out.extend((whole as f64).to_le_bytes());
}

/// Counts within a check are below 255: its validation bounds them.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Indexes of keys and policies within a call: at most 128 checks of 8 parts of 32 limits, so below 2^16.
fn index(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

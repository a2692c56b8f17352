//! Slices of a hot subject's budget. The store counts a slice when it is taken, this node spends it for at most 100
//! ms, and the rest is given back.
use std::collections::VecDeque;

use smallvec::SmallVec;

use super::{
    answer::States,
    request::{Return, StoreRequest},
};
use crate::algorithm::SLICE_LIFE;

/// A slice that would live for less than this, µs, because a window ends, is not worth a round trip.
const SHORTEST_LIFE: i64 = 5_000;
const SMALLEST: u32 = 16;
const LARGEST: u32 = 1 << 20;
/// How long to wait for the answer to a request, µs, before making another: longer than any call takes.
const PATIENCE: i64 = 250_000;
/// A subject that spends nothing for this long, µs, is no longer hot.
const IDLE: i64 = 1_000_000;

/// A subject with so many checks that slices are worth taking.
#[derive(Debug)]
pub(super) struct Hot {
    /// Identifies the limits of the slices: a check of other limits cannot spend them.
    fingerprint: u64,
    /// Names those limits when units are given back.
    limits: Option<StoreRequest>,
    /// The states after the store's last step, including everything that was taken.
    states: States,
    /// Oldest first.
    slices: VecDeque<Slice>,
    returns: SmallVec<[Return; 1]>,
    /// Units given back by a request that is not answered yet.
    returning: u32,
    /// How much to ask for next. Doubles when a slice is spent early; otherwise falls to what was spent.
    want: u32,
    /// No request before this moment: an answer is pending, or the limits could spare nothing.
    quiet_until: i64,
    spent_at: i64,
}

#[derive(Debug)]
struct Slice {
    left: u32,
    size: u32,
    taken_at: i64,
    ends_at: i64,
}

/// Whether a slice covers a check's cost.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spend {
    /// The slice covered it.
    Covered,
    /// Ask the store, and request this slice in advance.
    Ask { slice: u32 },
}

impl Hot {
    pub(super) fn new(fingerprint: u64, now: i64) -> Self {
        Self {
            fingerprint,
            limits: None,
            states: States::new(),
            slices: VecDeque::new(),
            returns: SmallVec::new(),
            returning: 0,
            want: SMALLEST,
            quiet_until: now,
            spent_at: now,
        }
    }

    pub(super) fn is_for(&self, fingerprint: u64) -> bool {
        self.fingerprint == fingerprint
    }

    /// Spends `cost` from the oldest slice that covers it. When a slice runs low, one check asks for the next.
    pub(super) fn spend(&mut self, cost: u32, now: i64) -> Spend {
        self.expire(now);
        self.spent_at = self.spent_at.max(now);
        let slice = self.request(now);
        if slice > 0 {
            return Spend::Ask { slice };
        }
        match self.slices.iter_mut().find(|slice| slice.left >= cost) {
            Some(slice) => {
                slice.left -= cost;
                Spend::Covered
            }
            None => {
                // The store decides now, so nothing may be held back here.
                self.give_back_all();
                Spend::Ask { slice: 0 }
            }
        }
    }

    /// How much to ask for now; 0 while there is enough, or while asking is useless.
    fn request(&mut self, now: i64) -> u32 {
        let left = self.left();
        if now < self.quiet_until || left > self.want / 4 {
            return 0;
        }
        if self.slices.back().is_some_and(|slice| now < slice.ends_at) {
            self.want = self.want.saturating_mul(2).min(LARGEST);
        }
        self.quiet_until = now + PATIENCE;
        self.want
    }

    /// Records the store's answer: the states after its step, and the slice that it granted.
    pub(super) fn learn(&mut self, request: &StoreRequest, states: &States, granted: u32, now: i64) {
        self.states.clone_from(states);
        self.returning = self.returning.saturating_sub(sum(&request.returns));
        if request.slice == 0 {
            return;
        }
        let end = request.first_end(states).unwrap_or(now).min(now + SLICE_LIFE);
        self.limits = Some(request.clone());
        if granted > 0 && end - now >= SHORTEST_LIFE {
            self.quiet_until = now;
            self.slices.push_back(Slice { left: granted, size: granted, taken_at: now, ends_at: end });
        } else {
            self.quiet_until = now + SLICE_LIFE;
            self.give_back(granted, now);
        }
    }

    pub(super) fn states(&self) -> &States {
        &self.states
    }

    /// Units that the states count as used and nobody has spent.
    pub(super) fn unspent(&self) -> u32 {
        self.left() + sum(&self.returns) + self.returning
    }

    fn left(&self) -> u32 {
        self.slices.iter().map(|slice| slice.left).sum()
    }

    /// Units to give back with the next request.
    pub(super) fn take_returns(&mut self) -> SmallVec<[Return; 1]> {
        self.returning += sum(&self.returns);
        std::mem::take(&mut self.returns)
    }

    /// A request of its own for units that must be given back when no other request is made.
    pub(super) fn overdue(&mut self, now: i64, told: Option<i64>) -> Option<StoreRequest> {
        self.expire(now);
        if self.returns.is_empty() {
            return None;
        }
        let returns = self.take_returns();
        self.limits.as_ref().map(|limits| limits.returning(returns.into_iter(), told))
    }

    pub(super) fn is_idle(&self, now: i64) -> bool {
        self.slices.is_empty()
            && self.returns.is_empty()
            && !(self.spent_at - IDLE..self.spent_at + IDLE).contains(&now)
    }

    fn expire(&mut self, now: i64) {
        // A clock that stepped back also ends a slice, because its age is unknown then.
        while let Some(slice) =
            self.slices.pop_front_if(|slice| !(slice.taken_at - SLICE_LIFE..slice.ends_at).contains(&now))
        {
            let spent = slice.size - slice.left;
            self.want = self.want.min(spent.saturating_add(spent / 4).max(SMALLEST));
            self.give_back(slice.left, slice.taken_at);
        }
    }

    fn give_back_all(&mut self) {
        while let Some(slice) = self.slices.pop_front() {
            self.give_back(slice.left, slice.taken_at);
        }
    }

    fn give_back(&mut self, amount: u32, consumed_at: i64) {
        if amount > 0 {
            self.returns.push(Return { amount, consumed_at });
        }
    }
}

fn sum(returns: &[Return]) -> u32 {
    returns.iter().map(|returned| returned.amount).sum()
}

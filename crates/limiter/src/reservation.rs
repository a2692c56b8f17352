//! Reservations: units held for a while instead of consumed, as a slot of a concurrency limit or for
//! a cost that is not known yet.
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::algorithm::Rule;

/// Most reservations of one subject, over all its limits, so that its packed value stays within a few dozen kilobytes.
pub(crate) const MAX_HOLDS: usize = 1_000;

/// Names a reservation, to renew or end it. Reserving again under the same name replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReservationId(u64);

impl ReservationId {
    /// The reservation with this name, such as the bytes of a request's id. It is hashed to 52 bits, which fit a
    /// script's doubles and are enough to distinguish the reservations of one subject.
    pub fn new(name: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_keys(0x746f_6c6c_6761_7465, 2);
        hasher.write(name);
        Self(hasher.finish() >> 12)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// An amount held on one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The limit's cell.
    pub(crate) cell: u64,
    pub(crate) id: u64,
    pub(crate) amount: i64,
    /// µs from which it holds nothing any more.
    pub(crate) until: i64,
}

/// Units that all live reservations on a cell hold, except the one called `except`.
pub(crate) fn held(reservations: &[Reservation], cell: u64, except: Option<ReservationId>, now: i64) -> i64 {
    live(reservations, cell, except, now).map(|hold| hold.amount).fold(0, i64::saturating_add)
}

/// When the last live reservation on a cell ends, except the one called `except`.
pub(crate) fn last_end(
    reservations: &[Reservation],
    cell: u64,
    except: Option<ReservationId>,
    now: i64,
) -> Option<i64> {
    live(reservations, cell, except, now).map(|hold| hold.until).max()
}

/// The earliest moment at which `price` fits in addition to the reservations; `rule_fits_at` answers it without them.
pub(crate) fn fits_at(
    reservations: &[Reservation],
    cell: u64,
    except: Option<ReservationId>,
    now: i64,
    rule_fits_at: impl Fn(i64) -> i64,
    price: i64,
) -> i64 {
    let mut ends: Vec<(i64, i64)> =
        live(reservations, cell, except, now).map(|hold| (hold.until, hold.amount)).collect();
    ends.sort_unstable();
    let mut held = ends.iter().map(|(_, amount)| *amount).fold(0, i64::saturating_add);
    let mut from = now;
    for (until, amount) in ends {
        let fits = rule_fits_at(price.saturating_add(held)).max(from);
        if fits < until {
            return fits;
        }
        held -= amount;
        from = until;
    }
    rule_fits_at(price).max(from)
}

fn live(
    reservations: &[Reservation],
    cell: u64,
    except: Option<ReservationId>,
    now: i64,
) -> impl Iterator<Item = &Reservation> {
    let except = except.map(ReservationId::number);
    reservations.iter().filter(move |hold| hold.cell == cell && hold.until > now && Some(hold.id) != except)
}

/// How long a reservation on a limit lives. A concurrency limit defines it itself.
pub(crate) fn life(rule: &Rule, asked: i64) -> i64 {
    if let Rule::Concurrency(rule) = rule { rule.life } else { asked }
}

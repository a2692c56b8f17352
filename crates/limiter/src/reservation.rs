//! What is held for a while instead of consumed: a slot of a concurrency limit, or a reservation of a cost yet unknown.
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::algorithm::Rule;

/// Most reservations of one subject, over all its limits: its packed value stays a few dozen kilobytes.
pub(crate) const MAX_HOLDS: usize = 1_000;

/// Names a reservation, for its renewal and its end. Taking a hold again under the same name replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReservationId(u64);

impl ReservationId {
    /// The reservation of this name, such as the bytes of a request's id. Hashed to 52 bits, which a script can hold in a double;
    /// it only tells the reservations of one subject apart.
    pub fn new(name: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_keys(0x746f_6c6c_6761_7465, 2);
        hasher.write(name);
        Self(hasher.finish() >> 12)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// An amount held of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// The limit's cell.
    pub(crate) cell: u64,
    pub(crate) id: u64,
    pub(crate) amount: i64,
    /// µs from when on it holds nothing any more.
    pub(crate) until: i64,
}

/// What all live reservations on a cell amount to, but for the hold called `except`.
pub(crate) fn held(reservations: &[Reservation], cell: u64, except: Option<ReservationId>, now: i64) -> i64 {
    live(reservations, cell, except, now).map(|hold| hold.amount).fold(0, i64::saturating_add)
}

/// When the last of the live reservations on a cell ends, but for the hold called `except`.
pub(crate) fn last_end(
    reservations: &[Reservation],
    cell: u64,
    except: Option<ReservationId>,
    now: i64,
) -> Option<i64> {
    live(reservations, cell, except, now).map(|hold| hold.until).max()
}

/// The earliest moment at which `price` fits in addition to what is held then; `rule_fits_at` says it for a price alone.
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

/// How long a reservation on a limit lives: a concurrency limit says so itself.
pub(crate) fn life(rule: &Rule, asked: i64) -> i64 {
    if let Rule::Concurrency(rule) = rule { rule.life } else { asked }
}

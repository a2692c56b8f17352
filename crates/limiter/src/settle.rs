//! Changes that no limit can refuse: ending or extending reservations, and giving back what was consumed.
use crate::{
    algorithm::LogDeed,
    check::{Check, Purpose},
    limit::Mode,
    reservation::{self, Reservation, ReservationId},
    standing::{log_change, prepare, used},
    state::{Change, States},
};

/// Ends, extends or gives back earlier consumption, as the check's purpose says; false when there was none.
pub(crate) fn settle(check: &Check<'_>, now: i64, states: &mut impl States) -> bool {
    let mut found = false;
    for (part, asked) in check.parts().enumerate() {
        let mut room_before = false;
        for (index, limit) in asked.limits.iter().enumerate() {
            let idle = limit.mode() == Mode::Beyond && room_before;
            let price = if idle { 0 } else { limit.price(check.cost()) };
            let (rule, cell) = (limit.quota().rule(), limit.id());
            let state = states.state(part);
            let (mut rolled, mut changed) = prepare(asked, index, limit, state, now);
            // What is given back is still in the count.
            let to_come = if let Purpose::GiveBack(_) = check.purpose() { 0 } else { price };
            room_before = used(check, limit, state, &rolled, now).saturating_add(to_come) <= rule.limit();
            let found_by = |id: ReservationId| {
                state
                    .reservations()
                    .iter()
                    .find(|reserved| reserved.cell == cell && reserved.id == id.number())
                    .copied()
            };
            let mut of_reservation = None;
            let mut of_log = rule.of_log().and_then(|rule| log_change(limit, rule, state, 0, now));
            match check.purpose() {
                Purpose::Settle(id) => {
                    of_reservation = found_by(id).map(|reserved| Change::EndReservation { cell, id: reserved.id });
                    found |= found_by(id).is_some_and(|reserved| reserved.until > now);
                    changed |= price > 0 && !rule.only_reserves();
                    rule.consume(&mut rolled, price);
                    of_log = rule.of_log().and_then(|rule| log_change(limit, rule, state, price, now));
                }
                Purpose::Renew(id, life) => {
                    let until = now + reservation::life(rule, life);
                    of_reservation = found_by(id)
                        .filter(|reserved| reserved.until > now)
                        .map(|reserved| Change::Reservation(Reservation { until, ..reserved }));
                    found |= of_reservation.is_some();
                }
                Purpose::GiveBack(moment) if price > 0 => {
                    changed |= rule.give_back(&mut rolled, price, moment);
                    let deed = LogDeed::GiveBack(price, moment);
                    of_log = rule.of_log().map(|rule| Change::Log { id: cell, rule, deed });
                }
                Purpose::GiveBack(_)
                | Purpose::Consume
                | Purpose::Peek(_)
                | Purpose::Acquire(_)
                | Purpose::Reserve(..) => {}
            }
            for change in [of_reservation, of_log].into_iter().flatten() {
                states.write(part, change);
            }
            if changed && rule.of_log().is_none() {
                states.write_cell(part, index, &limit.cell(&rolled));
            }
        }
    }
    found
}

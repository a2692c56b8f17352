//! One atomic step over all limits of a check: all consume or none does. Pure: the stores bring the cells and write them back.
use smallvec::SmallVec;

use crate::algorithm::{Cell, Rolled, admits, prepare, price, status};
use crate::check::{Check, Part};
use crate::decision::{Decision, LimitStatus, Retry, Source};
use crate::limit::Limit;
use crate::time::Timestamp;

/// What a check does to the cells of its subjects.
pub(crate) struct Outcome {
    pub(crate) decision: Decision,
    /// Cells to be written, with the index of their part, parts in order. Empty when all stay as they are.
    pub(crate) writes: SmallVec<[(usize, Cell); 4]>,
}

struct Step<'a> {
    part: usize,
    index: usize,
    limit: &'a Limit,
    rolled: Rolled,
    changed: bool,
    counted: bool,
    admitted: bool,
}

/// Decides `check` at `now` over the cells that `cells` finds for each part. Limits that are not `counted` let everything through.
pub(crate) fn decide<'c>(
    check: &Check<'_>,
    now: i64,
    counted: impl Fn(&Limit) -> bool,
    cells: impl Fn(&Part<'_>) -> &'c [Cell],
) -> Outcome {
    let cost = check.cost();
    let mut steps = SmallVec::<[Step<'_>; 4]>::new();
    for (part_index, part) in check.parts().enumerate() {
        let held = cells(part);
        steps.extend(part.limits.iter().enumerate().map(|(index, limit)| {
            let (rolled, changed) = prepare(part, index, limit, named(held, limit), now);
            let counted = counted(limit);
            let admitted = !counted || admits(limit, limit.quota().rule().used(&rolled), price(limit, cost));
            Step { part: part_index, index, limit, rolled, changed: counted && changed, counted, admitted }
        }));
    }
    let allowed = steps.iter().all(|step| step.admitted);
    let consumes = allowed && cost > 0;
    let mut writes = SmallVec::new();
    let mut limits = SmallVec::new();
    for step in &mut steps {
        let rule = step.limit.quota().rule();
        if consumes && step.counted {
            rule.consume(&mut step.rolled, price(step.limit, cost));
        }
        if consumes && step.counted || step.changed {
            let cell = Cell { id: step.limit.id(), numbers: step.rolled.numbers, until: step.rolled.until };
            writes.push((step.part, cell));
        }
        limits.push(placed(
            status(step.limit, &step.rolled, price(step.limit, cost), step.admitted, now),
            step.part,
            step.index,
        ));
    }
    Outcome { decision: decision(limits, allowed, Source::Exact, now), writes }
}

/// The decision that a store came to, from the cells it left behind: rolled here once more to the store's own `now`. Of
/// the cost they count as used, `unspent` was taken in advance and is not.
#[cfg(feature = "redis")]
pub(crate) fn explain(
    check: &Check<'_>,
    allowed: bool,
    now: i64,
    cells: &[impl AsRef<[Cell]>],
    unspent: u32,
) -> Decision {
    let mut limits = SmallVec::new();
    for (part_index, part) in check.parts().enumerate() {
        let held = cells.get(part_index).map_or(&[][..], AsRef::as_ref);
        for (index, limit) in part.limits.iter().enumerate() {
            let (rule, price_of) = (limit.quota().rule(), |cost| price(limit, cost));
            let rolled = rule.roll(named(held, limit), now);
            let admitted = allowed || admits(limit, rule.used(&rolled), price_of(check.cost()));
            let mut status = status(limit, &rolled, price_of(check.cost()), admitted, now);
            status.used = (status.used - price_of(unspent)).max(0);
            limits.push(placed(status, part_index, index));
        }
    }
    decision(limits, allowed, Source::Exact, now)
}

/// The cells that change when every limit of `check` gets back its cost, consumed at `moment`.
pub(crate) fn give_back<'c>(
    check: &Check<'_>,
    moment: i64,
    now: i64,
    cells: impl Fn(&Part<'_>) -> &'c [Cell],
) -> SmallVec<[(usize, Cell); 4]> {
    let mut writes = SmallVec::new();
    for (part_index, part) in check.parts().enumerate() {
        let held = cells(part);
        for limit in part.limits {
            let rule = limit.quota().rule();
            let mut rolled = rule.roll(named(held, limit), now);
            if rule.give_back(&mut rolled, price(limit, check.cost()), moment) || rolled.moved {
                writes.push((part_index, Cell { id: limit.id(), numbers: rolled.numbers, until: rolled.until }));
            }
        }
    }
    writes
}

pub(crate) fn decision(limits: SmallVec<[LimitStatus; 4]>, allowed: bool, source: Source, now: i64) -> Decision {
    let retry = match limits.iter().map(|status| status.fits_at).max() {
        _ if allowed => None,
        Some(i64::MAX) => Some(Retry::Never),
        latest => Some(Retry::At(Timestamp::from_micros(latest.unwrap_or(now).max(now)))),
    };
    Decision { allowed, degraded: false, source, at: Timestamp::from_micros(now), retry, limits }
}

fn named<'c>(cells: &'c [Cell], limit: &Limit) -> Option<&'c Cell> {
    cells.iter().find(|cell| cell.id == limit.id())
}

/// At most 8 parts of 32 limits: both indices fit a byte.
fn placed(status: LimitStatus, part: usize, index: usize) -> LimitStatus {
    LimitStatus { part: part.to_le_bytes()[0], index: index.to_le_bytes()[0], ..status }
}

//! One atomic step over all limits of a check: all consume or none does. Pure: the stores bring the cells and write them back.
use smallvec::SmallVec;

use crate::algorithm::{Cell, Rolled, admits, prepare, status};
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
            let admitted = !counted || admits(limit, limit.quota().rule().used(&rolled), cost);
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
            rule.consume(&mut step.rolled.numbers, cost);
        }
        if consumes && step.counted || step.changed {
            let cell = Cell { id: step.limit.id(), numbers: step.rolled.numbers, until: step.rolled.until };
            writes.push((step.part, cell));
        }
        limits.push(placed(status(step.limit, &step.rolled, cost, step.admitted, now), step.part, step.index));
    }
    Outcome { decision: decision(limits, allowed, Source::Exact, now), writes }
}

/// The decision that a store came to, from the cells it left behind: rolled here once more to the store's own `now`.
#[cfg(feature = "redis")]
pub(crate) fn explain(check: &Check<'_>, allowed: bool, now: i64, cells: &[impl AsRef<[Cell]>]) -> Decision {
    let cost = check.cost();
    let mut limits = SmallVec::new();
    for (part_index, part) in check.parts().enumerate() {
        let held = cells.get(part_index).map_or(&[][..], AsRef::as_ref);
        for (index, limit) in part.limits.iter().enumerate() {
            let rule = limit.quota().rule();
            let rolled = rule.roll(named(held, limit), now);
            let admitted = allowed || admits(limit, rule.used(&rolled), cost);
            limits.push(placed(status(limit, &rolled, cost, admitted, now), part_index, index));
        }
    }
    decision(limits, allowed, Source::Exact, now)
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

//! A spend cap as units: how many may be used before the next one would cost more than allowed.

use super::{
    Model, PriceTerms, Share, TooLarge,
    exact::Exact,
    lines::{price, scaled, whole_units},
};
use crate::Money;

/// More units than a period can have.
const NO_END: u64 = i64::MAX as u64;

/// The first number of units whose next one would cost more and bring base and usage of the segment above `cap`. None: no
/// unit ever does. Units that cost nothing are within any cap, the included ones first of all.
///
/// What units cost may fall where a volume price reaches its next tier: this is the first crossing, not the last.
///
/// # Errors
/// When the costs of no unit at all leave the range of [`Money`].
pub fn units_within(terms: &PriceTerms, share: Share, cap: Money) -> Result<Option<u64>, TooLarge> {
    // A cost that cannot be counted is above any cap.
    let cost = |units: u64| cost(terms, share, units).unwrap_or(Money(i64::MAX));
    self::cost(terms, share, 0)?;
    let mut from = 0;
    for to in ends_of_slopes(terms, share)? {
        // From one unit to the next, where two slopes meet.
        if to > from && cost(to) > cap.max(cost(from)) {
            return Ok(Some(last_within(from, to, |units| cost(units) <= cap.max(cost(from)))));
        }
        from = from.max(to);
        if from < NO_END && cost(from + 1) > cap.max(cost(from)) {
            return Ok(Some(from));
        }
        from = (from + 1).min(NO_END);
    }
    Ok(None)
}

fn cost(terms: &PriceTerms, share: Share, units: u64) -> Result<Money, TooLarge> {
    let lines = price(terms, share, units)?;
    lines.iter().try_fold(Money::ZERO, |sum, line| sum.checked_add(line.amount)).ok_or(TooLarge)
}

/// The last units of the stretches over which costs do not fall, ascending; the last one has no end.
fn ends_of_slopes(terms: &PriceTerms, share: Share) -> Result<Vec<u64>, TooLarge> {
    let included = terms.included().map_or(Ok(Exact::ZERO), |units| scaled(units, share))?;
    let mut ends = vec![included];
    if let Model::Graduated { tiers } | Model::Volume { tiers } = &terms.model {
        for units in tiers.iter().filter_map(|tier| tier.up_to) {
            ends.push(included.plus(scaled(units, share)?)?);
        }
    }
    let mut ends = ends.into_iter().map(whole_units).collect::<Result<Vec<_>, _>>()?;
    ends.push(NO_END);
    Ok(ends)
}

/// The last of `from..to` that is within; `from` is, `to` is not.
fn last_within(mut from: u64, mut to: u64, is_within: impl Fn(u64) -> bool) -> u64 {
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        match is_within(middle) {
            true => from = middle,
            false => to = middle,
        }
    }
    from
}

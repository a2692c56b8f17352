//! A spend cap as a limit: the units that a key may use in a month before the next one would cost more. It is decided with all
//! other limits in one step, so concurrent requests cannot pass it together.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    BillingPeriod, LimitSpec, Money,
    price::{PriceVersion, TooLarge, segment::index_at, units_within},
};
use tollgate_repository::{KeyAndPlan, PeriodUsage};

use super::Checks;
use crate::Error;

/// Name of the limit that a spend cap is.
pub const SPEND_CAP: &str = "spend-cap";
/// After a change of prices, units of the minute before are still on their way: the cap is computed again when they are in.
const SETTLED: TimeDelta = TimeDelta::seconds(10);

/// A cap for the present prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpendCap {
    /// Units from the period's start on. None: no further unit costs more.
    pub(crate) units: Option<u64>,
    /// When it must be computed again: prices change, or the period ends.
    pub(crate) until: DateTime<Utc>,
}

impl SpendCap {
    /// The limit of so many units. A limit of nothing is one unit, which counts as used: see [`SpendCap::floor`].
    pub(crate) fn spec(units: u64) -> LimitSpec {
        LimitSpec::monthly(SPEND_CAP, units.max(1))
    }

    /// What counts as used of it where `used` units were admitted.
    pub(crate) fn floor(units: u64, used: u64) -> u64 {
        if units == 0 { used.max(1) } else { used }
    }
}

impl Checks<'_> {
    /// The cap of a key that has one: its own, else its plan's. It is exact for what the database knows of earlier prices in the
    /// period.
    pub(super) async fn spend_cap(self, found: &KeyAndPlan, now: DateTime<Utc>) -> Result<Option<SpendCap>, Error> {
        let Some(amount) = found.key.spend_cap.or(found.plan.prices.spend_cap) else { return Ok(None) };
        let period = BillingPeriod::containing(now);
        let (tenant_id, id) = (found.key.tenant_id, found.key.id);
        let usage = self.0.repository().billing().period(tenant_id, id, period).await?;
        let Some(usage) = usage else { return Ok(None) };
        Ok(of_usage(&usage, period, amount, now)?)
    }
}

/// What is left of the cap after all other prices of the period, in units of the present ones.
fn of_usage(
    usage: &PeriodUsage,
    period: BillingPeriod,
    cap: Money,
    now: DateTime<Utc>,
) -> Result<Option<SpendCap>, TooLarge> {
    let Some(bill) = usage.timeline.bill(period, usage.lifetime, &usage.units)? else { return Ok(None) };
    let present = index_at(bill.segments.iter().map(|segment| segment.segment.starts_at), now);
    let (mut left, mut units_before) = (cap, 0_u64);
    for (index, segment) in bill.segments.iter().enumerate().filter(|(index, _)| *index != present) {
        for line in &segment.lines {
            left = left.checked_add(Money(line.amount.0.saturating_neg())).ok_or(TooLarge)?;
        }
        if index < present {
            units_before = units_before.saturating_add(segment.units);
        }
    }
    let Some(segment) = bill.segments.get(present) else { return Ok(None) };
    let PriceVersion { terms, .. } = &segment.version;
    let units = units_within(terms, segment.segment.share, left)?;
    let next = bill.segments.get(present + 1).map_or(period.end, |next| next.segment.starts_at);
    let settled = segment.segment.starts_at + SETTLED;
    let until = if present > 0 && now < settled { settled.min(next) } else { next };
    Ok(Some(SpendCap { units: units.map(|units| units.saturating_add(units_before)), until }))
}

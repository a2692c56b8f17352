//! A whole period: the lines of all its segments, and what they come to.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{
    Line, PriceTerms, Segment, TooLarge,
    lines::{included, price},
    segment::{Change, Lifetime, index_at, segments},
};
use crate::{BillingPeriod, Currency, Money, PriceId, Proration};

/// One version of a plan's prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceVersion {
    /// The plan's name.
    pub plan_name: String,
    /// What the plan cost.
    pub terms: PriceTerms,
}

/// The prices of a key from when, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Ascending; the first counts from the beginning of time.
    pub changes: Vec<Change<PriceId>>,
    /// Those that are named in `changes`.
    pub versions: BTreeMap<PriceId, PriceVersion>,
}

/// A segment with its units and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledSegment {
    /// When, and at which prices.
    pub segment: Segment<PriceId>,
    /// The prices.
    pub version: PriceVersion,
    /// Admitted units.
    pub units: u64,
    /// Of those, beyond the included ones, billed or not.
    pub overage_units: u64,
    /// What is owed.
    pub lines: Vec<Line>,
}

/// What a key owes for a period, before corrections of earlier ones and credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Of all amounts.
    pub currency: Currency,
    /// In time.
    pub segments: Vec<BilledSegment>,
}

impl Timeline {
    /// What the period costs with these units, by where their segments begin. None: no prices were in force before its end.
    ///
    /// # Errors
    /// When an amount leaves the range of [`Money`].
    pub fn bill(
        &self,
        period: BillingPeriod,
        lifetime: Lifetime,
        units: &[Change<u64>],
    ) -> Result<Option<Bill>, TooLarge> {
        let terms_of = |price: &PriceId| self.versions.get(price).map(|version| &version.terms);
        let proration = |price: &PriceId| terms_of(price).map_or(Proration::default(), |terms| terms.proration);
        let segments = segments(period, &self.changes, lifetime, proration);
        let mut used = vec![0_u64; segments.len()];
        for (start, units) in units {
            let index = index_at(segments.iter().map(|segment| segment.starts_at), *start);
            if let Some(sum) = used.get_mut(index) {
                *sum = sum.checked_add(*units).ok_or(TooLarge)?;
            }
        }
        let mut billed = Vec::with_capacity(segments.len());
        for (segment, units) in segments.into_iter().zip(used) {
            let Some(version) = self.versions.get(&segment.terms) else { continue };
            billed.push(BilledSegment::of(segment, version.clone(), units)?);
        }
        let currency = billed.last().map(|last| last.version.terms.currency);
        Ok(currency.map(|currency| Bill { currency, segments: billed }))
    }
}

impl BilledSegment {
    /// Prices a segment.
    ///
    /// # Errors
    /// When an amount leaves the range of [`Money`].
    pub fn of(segment: Segment<PriceId>, version: PriceVersion, units: u64) -> Result<Self, TooLarge> {
        let free = included(&version.terms, segment.share)?;
        let overage_units = units.saturating_sub(free.unwrap_or(units));
        let lines = price(&version.terms, segment.share, units)?;
        Ok(Self { segment, version, units, overage_units, lines })
    }
}

impl Bill {
    /// Admitted units.
    pub fn units(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.units))
    }

    /// Units beyond the included ones, billed or not.
    pub fn overage_units(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.overage_units))
    }

    /// All lines' amounts.
    pub fn amounts(&self) -> impl Iterator<Item = Money> {
        self.segments.iter().flat_map(|segment| &segment.lines).map(|line| line.amount)
    }

    /// The sum of all lines.
    ///
    /// # Errors
    /// When it leaves the range of [`Money`].
    pub fn subtotal(&self) -> Result<Money, TooLarge> {
        self.amounts().try_fold(Money::ZERO, Money::checked_add).ok_or(TooLarge)
    }

    /// The segment that is in force at the end.
    pub fn last(&self) -> Option<&BilledSegment> {
        self.segments.last()
    }

    /// Units of the quotas of all segments, each by its share. None: one of them has no quota.
    ///
    /// # Errors
    /// When the sum leaves the range of 128 bits.
    pub fn quota(&self) -> Result<Option<u64>, TooLarge> {
        let mut sum = super::exact::Exact::ZERO;
        for segment in &self.segments {
            let Some(quota) = segment.version.terms.quota else { return Ok(None) };
            sum = sum.plus(super::lines::scaled(quota, segment.segment.share)?)?;
        }
        super::lines::whole_units(sum).map(Some)
    }
}

impl BilledSegment {
    /// Units of the segment's quota that are left. None: it has none.
    ///
    /// # Errors
    /// When the sum leaves the range of 128 bits.
    pub fn quota_left(&self) -> Result<Option<u64>, TooLarge> {
        let quota =
            self.version.terms.quota.map(|quota| super::lines::scaled(quota, self.segment.share)).transpose()?;
        Ok(quota.map(super::lines::whole_units).transpose()?.map(|quota| quota.saturating_sub(self.units)))
    }
}

/// Units per start of a segment, one after the other in time.
pub fn add_units(sums: &mut Vec<Change<u64>>, start: DateTime<Utc>, units: u64) {
    match sums.binary_search_by_key(&start, |(start, _)| *start) {
        Ok(at) => {
            if let Some((_, sum)) = sums.get_mut(at) {
                *sum = sum.saturating_add(units);
            }
        }
        Err(at) => sums.insert(at, (start, units)),
    }
}

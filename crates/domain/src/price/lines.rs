//! The lines of one segment: what its base, its units, its minimum and its maximum come to.

use serde::{Deserialize, Serialize};

use super::{Model, PriceTerms, Share, Tier, TooLarge, exact::Exact};
use crate::{Money, Rate};

/// Of [`Rate`]'s unit in one of [`Money`]'s.
const RATES_PER_MICRO: i128 = 1_000_000;

/// What a line of a bill is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// What is due whatever is used.
    Base,
    /// Units, or packages of them.
    Usage,
    /// What a tier costs once it is reached.
    TierFlat,
    /// What is missing to the minimum.
    MinimumTrueUp,
    /// What exceeds the maximum; negative.
    MaximumDiscount,
    /// What usage that came late changes about an earlier period.
    Correction,
    /// Paid by a grant; negative.
    Credit,
}

impl LineKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Base,
        Self::Usage,
        Self::TierFlat,
        Self::MinimumTrueUp,
        Self::MaximumDiscount,
        Self::Correction,
        Self::Credit,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Usage => "usage",
            Self::TierFlat => "tier_flat",
            Self::MinimumTrueUp => "minimum_true_up",
            Self::MaximumDiscount => "maximum_discount",
            Self::Correction => "correction",
            Self::Credit => "credit",
        }
    }
}

/// One line. `amount` is rounded to a millionth of the currency's unit; nothing before it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is for.
    pub kind: LineKind,
    /// Of a tiered price: which tier, from 1.
    pub tier: Option<u32>,
    /// Whole units or packages: where a share of the period moves a bound between two units, the lower one counts.
    pub quantity: u64,
    /// For one of them, and for the whole period where it is owed per period. None: for the amount there is no price.
    pub unit_amount: Option<Rate>,
    /// What is owed.
    pub amount: Money,
}

/// The lines of a segment in which `units` were used. Those of nothing are left out.
///
/// # Errors
/// When an amount leaves the range of [`Money`].
pub fn price(terms: &PriceTerms, share: Share, units: u64) -> Result<Vec<Line>, TooLarge> {
    let mut bill = Bill { share: share.0, lines: Vec::new() };
    if terms.base != Money::ZERO {
        bill.per_period(LineKind::Base, None, terms.base)?;
    }
    let billed = Billed::of(terms, share, units)?;
    match &terms.model {
        Model::PerUnit { unit_amount } => bill.units(None, billed.quantity(None)?, billed.units, *unit_amount)?,
        Model::Graduated { tiers } => bill.graduated(tiers, &billed)?,
        Model::Volume { tiers } => bill.volume(tiers, &billed)?,
        Model::Package { package_size, package_amount } => {
            let packages = billed.units.times(Exact::one_of(*package_size))?.ceiling();
            let quantity = u64::try_from(packages.floor()).map_err(|_| TooLarge)?;
            bill.units(None, quantity, packages, rate(*package_amount))?;
        }
    }
    bill.bind(terms)?;
    Ok(bill.lines)
}

/// Whole units that cost nothing. None: any number.
///
/// # Errors
/// When a bound leaves the range of 128 bits.
pub fn included(terms: &PriceTerms, share: Share) -> Result<Option<u64>, TooLarge> {
    terms.included().map(|units| whole_units(scaled(units, share)?)).transpose()
}

pub(super) fn scaled(units: u64, share: Share) -> Result<Exact, TooLarge> {
    Exact::whole(units).times(share.0)
}

pub(super) fn whole_units(units: Exact) -> Result<u64, TooLarge> {
    u64::try_from(units.floor()).map_err(|_| TooLarge)
}

fn rate(amount: Money) -> Rate {
    Rate(i128::from(amount.0) * RATES_PER_MICRO)
}

/// Units that are priced: beyond the included ones and below those that are not billed.
struct Billed {
    /// Where they begin.
    from: Exact,
    /// How many; a fraction where the included ones are.
    units: Exact,
}

impl Billed {
    fn of(terms: &PriceTerms, share: Share, units: u64) -> Result<Self, TooLarge> {
        let used = Exact::whole(units);
        let from = terms.included().map_or(Ok(used), |included| scaled(included, share))?;
        let to = terms.billed_up_to().map_or(Ok(used), |end| scaled(end, share))?.min(used);
        Ok(Self { from, units: to.minus(from)?.max(Exact::ZERO) })
    }

    /// Whole units up to `bound` of the billed ones; all of them without one.
    fn quantity(&self, bound: Option<Exact>) -> Result<u64, TooLarge> {
        let end = self.from.plus(bound.map_or(self.units, |bound| bound.min(self.units)))?;
        Ok(whole_units(end)?.saturating_sub(whole_units(self.from)?))
    }
}

struct Bill {
    share: Exact,
    lines: Vec<Line>,
}

impl Bill {
    fn push(&mut self, line: Line, amount: Exact) -> Result<(), TooLarge> {
        self.lines.push(Line { amount: amount.to_money()?, ..line });
        Ok(())
    }

    fn per_period(&mut self, kind: LineKind, tier: Option<u32>, amount: Money) -> Result<(), TooLarge> {
        let line = Line { kind, tier, quantity: 1, unit_amount: Some(rate(amount)), amount };
        self.push(line, Exact::from(amount).times(self.share)?)
    }

    fn units(&mut self, tier: Option<u32>, quantity: u64, units: Exact, unit: Rate) -> Result<(), TooLarge> {
        if units == Exact::ZERO {
            return Ok(());
        }
        let kind = LineKind::Usage;
        let line = Line { kind, tier, quantity, unit_amount: Some(unit), amount: Money::ZERO };
        self.push(line, units.times(unit.into())?)
    }

    fn flat(&mut self, number: u32, tier: &Tier) -> Result<(), TooLarge> {
        match tier.flat_amount {
            Money::ZERO => Ok(()),
            amount => self.per_period(LineKind::TierFlat, Some(number), amount),
        }
    }

    /// Each unit at the rate of the tier it falls into; the flat amount of each tier that is reached.
    fn graduated(&mut self, tiers: &[Tier], billed: &Billed) -> Result<(), TooLarge> {
        let (mut from, mut counted) = (Exact::ZERO, 0);
        for (number, tier) in (1..).zip(tiers) {
            if number > 1 && billed.units <= from {
                break;
            }
            let bound = tier.up_to.map(|units| Exact::whole(units).times(self.share)).transpose()?;
            let to = bound.map_or(billed.units, |bound| bound.min(billed.units));
            let end = billed.quantity(bound)?;
            self.flat(number, tier)?;
            self.units(Some(number), end.saturating_sub(counted), to.minus(from)?, tier.unit_amount)?;
            (from, counted) = (to, end);
            if bound.is_some_and(|bound| billed.units <= bound) {
                break;
            }
        }
        Ok(())
    }

    /// All units at the rate of the tier that their number falls into.
    fn volume(&mut self, tiers: &[Tier], billed: &Billed) -> Result<(), TooLarge> {
        for (number, tier) in (1..).zip(tiers) {
            let bound = tier.up_to.map(|units| Exact::whole(units).times(self.share)).transpose()?;
            if bound.is_none_or(|bound| billed.units <= bound) {
                self.flat(number, tier)?;
                return self.units(Some(number), billed.quantity(None)?, billed.units, tier.unit_amount);
            }
        }
        Ok(())
    }

    /// Brings the segment to its minimum or its maximum, exactly: what is missing is counted from the lines as they are
    /// rounded. From the unrounded ones the sum would be a millionth off the promised amount now and then.
    fn bind(&mut self, terms: &PriceTerms) -> Result<(), TooLarge> {
        let bounds = [(LineKind::MinimumTrueUp, terms.minimum), (LineKind::MaximumDiscount, terms.maximum)];
        for (kind, bound) in bounds {
            let Some(bound) = bound else { continue };
            let sum =
                self.lines.iter().try_fold(Money::ZERO, |sum, line| sum.checked_add(line.amount)).ok_or(TooLarge)?;
            let missing = Exact::from(bound).times(self.share)?.to_money()?.0.checked_sub(sum.0).ok_or(TooLarge)?;
            let applies = if kind == LineKind::MinimumTrueUp { missing > 0 } else { missing < 0 };
            if applies {
                self.lines.push(Line { kind, tier: None, quantity: 1, unit_amount: None, amount: Money(missing) });
            }
        }
        Ok(())
    }
}

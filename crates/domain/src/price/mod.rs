//! What units cost: the terms of a plan, and the one place that turns units into the lines of a bill.
//!
//! Reading order: [`Prices`] is what a plan says; [`PriceTerms`] what of that decides a bill, resolved and immutable;
//! [`segment`] splits a period where the terms change; [`lines`] prices each segment; [`mod@bill`] is a whole period; [`record`] adds up and rounds. All
//! arithmetic is exact and is rounded once per line, half to even, to a millionth of the currency's unit. What leaves the
//! range of the types is an error and never a smaller number.

pub mod bill;
mod cap;
mod exact;
pub mod lines;
#[cfg(test)]
mod properties;
pub mod record;
pub mod segment;
mod terms;

use serde::{Deserialize, Serialize};

use crate::{Currency, Invalid, Money, Rate};

pub use bill::{Bill, BilledSegment, PriceVersion, Timeline};
pub use cap::units_within;
pub use lines::{Line, LineKind, price};
pub use record::{Total, total};
pub use segment::{Segment, Share};
pub use terms::PriceTerms;

/// Most tiers of a price.
pub const MAX_TIERS: usize = 20;
/// Largest amount of a price: twelve digits and six places.
pub const MAX_AMOUNT: Money = Money(999_999_999_999_999_999);
/// Largest price of a unit: twelve digits and twelve places.
pub const MAX_RATE: Rate = Rate(999_999_999_999_999_999_999_999);
/// Largest number of units in a price.
pub const MAX_UNITS: u64 = 1_000_000_000_000;

/// An amount beyond 9.2 million million of the currency's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too large to be counted in millionths")]
pub struct TooLarge;

/// What a plan costs, per key and calendar month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// Currency of all amounts.
    pub currency: Currency,
    /// Due whatever is used.
    pub base: Money,
    /// What units beyond the included ones cost.
    #[serde(flatten)]
    pub model: Model,
    /// Units that the base covers. None: as many as the quota; any number without one.
    pub included_units: Option<u64>,
    /// Base and usage cost at least this.
    pub minimum: Option<Money>,
    /// Base and usage cost at most this.
    pub maximum: Option<Money>,
    /// Units that would cost more than this in a period are refused.
    pub spend_cap: Option<Money>,
    /// What is owed for a part of a period.
    pub proration: Proration,
}

/// How units beyond the included ones are priced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
pub enum Model {
    /// Each at the same rate.
    PerUnit {
        /// Of a unit.
        unit_amount: Rate,
    },
    /// Each at the rate of the tier it falls into.
    Graduated {
        /// Ascending; the last has no end.
        tiers: Vec<Tier>,
    },
    /// All at the rate of the tier that their number falls into.
    Volume {
        /// Ascending; the last has no end.
        tiers: Vec<Tier>,
    },
    /// By started packages.
    Package {
        /// Units of a package.
        package_size: u64,
        /// Of a package.
        package_amount: Money,
    },
}

/// A tier of a graduated or a volume price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its last unit. None: it has no end.
    pub up_to: Option<u64>,
    /// Of a unit.
    pub unit_amount: Rate,
    /// Due once the tier is reached. The first one always is.
    pub flat_amount: Money,
}

/// What of a period counts when a key is made or ends within it, or its terms change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proration {
    /// The first terms reach back to the period's start and the last to its end: parts always add up to the whole.
    #[default]
    Changes,
    /// Time before the key was made and after it ended is free, and its allowance shrinks with it.
    Time,
    /// The terms in force at the period's end are owed whole; units still cost what they cost in their minute.
    None,
}

impl Prices {
    /// A base and one rate for each unit beyond the quota.
    pub fn per_unit(currency: Currency, base: Money, unit_amount: Rate) -> Self {
        Self {
            currency,
            base,
            model: Model::PerUnit { unit_amount },
            included_units: None,
            minimum: None,
            maximum: None,
            spend_cap: None,
            proration: Proration::default(),
        }
    }

    /// Names every wrong member.
    pub(crate) fn validate(&self, invalid: &mut Invalid) {
        let mut amount = |pointer: &str, amount: Money| {
            let fits = (Money::ZERO..=MAX_AMOUNT).contains(&amount);
            invalid.require(fits, pointer, format_args!("from 0.00 to {MAX_AMOUNT}"));
        };
        amount("/prices/base", self.base);
        let optional = [("minimum", self.minimum), ("maximum", self.maximum), ("spend_cap", self.spend_cap)];
        for (name, value) in optional {
            value.inspect(|value| amount(&format!("/prices/{name}"), *value));
        }
        if let Some(maximum) = self.maximum {
            let floor = self.base.max(self.minimum.unwrap_or_default());
            invalid.require(maximum >= floor, "/prices/maximum", "at least base and minimum");
        }
        let included = self.included_units.is_none_or(|units| units <= MAX_UNITS);
        invalid.require(included, "/prices/included_units", format_args!("from 0 to {MAX_UNITS}"));
        self.model.validate(invalid);
    }
}

impl Model {
    /// As the contract names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PerUnit { .. } => "per_unit",
            Self::Graduated { .. } => "graduated",
            Self::Volume { .. } => "volume",
            Self::Package { .. } => "package",
        }
    }

    fn validate(&self, invalid: &mut Invalid) {
        match self {
            Self::PerUnit { unit_amount } => require_rate(*unit_amount, "/prices/unit_amount", invalid),
            Self::Graduated { tiers } | Self::Volume { tiers } => validate_tiers(tiers, invalid),
            Self::Package { package_size, package_amount } => {
                let fits = (1..=MAX_UNITS).contains(package_size);
                invalid.require(fits, "/prices/package_size", format_args!("from 1 to {MAX_UNITS}"));
                let fits = (Money::ZERO..=MAX_AMOUNT).contains(package_amount);
                invalid.require(fits, "/prices/package_amount", format_args!("from 0.00 to {MAX_AMOUNT}"));
            }
        }
    }
}

fn require_rate(rate: Rate, pointer: &str, invalid: &mut Invalid) {
    invalid.require((Rate(0)..=MAX_RATE).contains(&rate), pointer, format_args!("from 0.00 to {MAX_RATE}"));
}

fn validate_tiers(tiers: &[Tier], invalid: &mut Invalid) {
    invalid.require((1..=MAX_TIERS).contains(&tiers.len()), "/prices/tiers", format_args!("1 to {MAX_TIERS} tiers"));
    let mut before = 0;
    for (index, tier) in tiers.iter().enumerate() {
        let at = |member: &str| format!("/prices/tiers/{index}/{member}");
        let is_last = index + 1 == tiers.len();
        match tier.up_to {
            None => invalid.require(is_last, &at("up_to"), "null in the last tier only"),
            Some(_) if is_last => invalid.push(at("up_to"), "null in the last tier"),
            Some(up_to) => {
                let ascends = up_to > before && up_to <= MAX_UNITS;
                invalid.require(
                    ascends,
                    &at("up_to"),
                    format_args!("from {} to {MAX_UNITS}: more than before", before + 1),
                );
                before = before.max(up_to);
            }
        }
        require_rate(tier.unit_amount, &at("unit_amount"), invalid);
        let fits = (Money::ZERO..=MAX_AMOUNT).contains(&tier.flat_amount);
        invalid.require(fits, &at("flat_amount"), format_args!("from 0.00 to {MAX_AMOUNT}"));
    }
}

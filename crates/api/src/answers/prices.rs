//! Prices of plans, as they are sent and shown. Amounts have at least the places of their currency.

use serde::{Deserialize, Serialize};
use tollgate_domain::{
    Currency, Effective, Invalid, Model, Money, Prices, Proration, Rate, Tier,
    price::{MAX_TIERS, MAX_UNITS},
};
use utoipa::{ToSchema, openapi::ObjectBuilder};

use crate::{answers::views::one_of, body::whole};

/// The schemas' literals must follow the domain's bounds.
const _: () = assert!(MAX_UNITS == 1_000_000_000_000 && MAX_TIERS == 20);

/// What a plan costs: decimal strings. `unit_amount` belongs to the model `per_unit`, `tiers` to `graduated` and `volume`,
/// `package_size` and `package_amount` to `package`.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"currency": "USD", "base": "29.00", "model": "per_unit", "included_units": 100_000, "unit_amount": "0.0005"}))]
pub(crate) struct PlanPrices {
    /// ISO 4217.
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// Per key and billing period.
    #[schema(value_type = String, example = "29.00")]
    base: Money,
    /// How units beyond the included ones are priced; `per_unit` unless given.
    #[serde(default)]
    #[schema(schema_with = model)]
    model: ModelName,
    /// Units that the base covers. As many as the quota unless given, and any number without a quota; 0 bills from the first.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 100_000, minimum = 0, maximum = 1_000_000_000_000_i64)]
    included_units: Option<u64>,
    /// Of each unit.
    #[schema(value_type = Option<String>, example = "0.0005")]
    unit_amount: Option<Rate>,
    /// The same under its earlier name.
    #[schema(value_type = Option<String>, example = "0.0005")]
    overage_unit: Option<Rate>,
    /// Ascending; the last has `up_to` null.
    #[schema(min_items = 1, max_items = 20)]
    tiers: Option<Vec<PriceTier>>,
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 1_000, minimum = 1, maximum = 1_000_000_000_000_i64)]
    package_size: Option<u64>,
    /// Of each started package.
    #[schema(value_type = Option<String>, example = "1.25")]
    package_amount: Option<Money>,
    /// Base and usage cost at least this.
    #[schema(value_type = Option<String>, example = "10.00")]
    minimum: Option<Money>,
    /// Base and usage cost at most this.
    #[schema(value_type = Option<String>, example = "500.00")]
    maximum: Option<Money>,
    /// Units that would cost more in a period are refused.
    #[schema(value_type = Option<String>, example = "400.00")]
    spend_cap: Option<Money>,
    #[serde(default)]
    #[schema(schema_with = proration)]
    proration: Option<Proration>,
    /// When changed prices come into force; `next_period` unless given.
    #[serde(default)]
    #[schema(schema_with = effective)]
    effective: Option<Effective>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModelName {
    #[default]
    PerUnit,
    Graduated,
    Volume,
    Package,
}

/// A tier of a graduated or a volume price.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriceTier {
    /// Its last unit; null: it has no end.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(required, example = 10_000, minimum = 1, maximum = 1_000_000_000_000_i64)]
    up_to: Option<u64>,
    /// Of a unit.
    #[schema(value_type = String, example = "0.001")]
    unit_amount: Rate,
    /// Due once the tier is reached, which the first always is.
    #[serde(default)]
    #[schema(value_type = String, example = "5.00")]
    flat_amount: Money,
}

/// What a plan costs. Members of other models are null.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanPricesView {
    /// ISO 4217.
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// Per key and billing period.
    #[schema(example = "29.00")]
    base: String,
    #[schema(schema_with = model)]
    model: &'static str,
    /// Units that the base covers; null: as many as the quota.
    #[schema(required, example = 100_000)]
    included_units: Option<u64>,
    /// Null in other models, as what follows is.
    #[schema(required, example = "0.0005")]
    unit_amount: Option<String>,
    /// The same under its earlier name.
    #[schema(required, example = "0.0005")]
    overage_unit: Option<String>,
    #[schema(required, example = json!(null))]
    tiers: Option<Vec<PriceTierView>>,
    #[schema(required, example = 1_000)]
    package_size: Option<u64>,
    #[schema(required, example = "1.25")]
    package_amount: Option<String>,
    #[schema(required, example = "10.00")]
    minimum: Option<String>,
    #[schema(required, example = "500.00")]
    maximum: Option<String>,
    #[schema(required, example = "400.00")]
    spend_cap: Option<String>,
    #[schema(schema_with = proration)]
    proration: Proration,
}

/// A tier of a graduated or a volume price.
#[derive(Serialize, ToSchema)]
struct PriceTierView {
    #[schema(required, example = 10_000)]
    up_to: Option<u64>,
    #[schema(example = "0.001")]
    unit_amount: String,
    #[schema(example = "5.00")]
    flat_amount: String,
}

impl PlanPrices {
    /// The prices, and when they come into force.
    ///
    /// # Errors
    /// Names members that the model lacks or does not have.
    pub(crate) fn read(self) -> Result<(Prices, Effective), Invalid> {
        let mut invalid = Invalid::none();
        let given = [
            ("unit_amount", self.unit_amount.is_some(), ModelName::PerUnit),
            ("overage_unit", self.overage_unit.is_some(), ModelName::PerUnit),
            ("package_size", self.package_size.is_some(), ModelName::Package),
            ("package_amount", self.package_amount.is_some(), ModelName::Package),
        ];
        for (name, _, of) in given.into_iter().filter(|(_, given, of)| *given && *of != self.model) {
            invalid.push(format!("/prices/{name}"), format!("only with the model {:?}", of.as_str()));
        }
        let tiered = matches!(self.model, ModelName::Graduated | ModelName::Volume);
        let fits = tiered || self.tiers.is_none();
        invalid.require(fits, "/prices/tiers", "only with the models \"graduated\" and \"volume\"");
        let required = |invalid: &mut Invalid, name: &str| {
            invalid.push(format!("/prices/{name}"), format!("required with the model {:?}", self.model.as_str()));
        };
        let tiers = || self.tiers.iter().flatten().map(Tier::from).collect();
        let model = match self.model {
            ModelName::PerUnit => {
                let (unit, former) = (self.unit_amount, self.overage_unit);
                let agree = unit.is_none() || former.is_none() || unit == former;
                invalid.require(agree, "/prices/overage_unit", "must be absent or equal to unit_amount");
                if unit.or(former).is_none() {
                    required(&mut invalid, "unit_amount");
                }
                Model::PerUnit { unit_amount: unit.or(former).unwrap_or_default() }
            }
            ModelName::Graduated => Model::Graduated { tiers: tiers() },
            ModelName::Volume => Model::Volume { tiers: tiers() },
            ModelName::Package => {
                for (name, missing) in
                    [("package_size", self.package_size.is_none()), ("package_amount", self.package_amount.is_none())]
                {
                    if missing {
                        required(&mut invalid, name);
                    }
                }
                let (package_size, package_amount) = (self.package_size, self.package_amount);
                Model::Package {
                    package_size: package_size.unwrap_or(1),
                    package_amount: package_amount.unwrap_or_default(),
                }
            }
        };
        if tiered && self.tiers.is_none() {
            required(&mut invalid, "tiers");
        }
        invalid.finish()?;
        let prices = Prices {
            currency: self.currency,
            base: self.base,
            model,
            included_units: self.included_units,
            minimum: self.minimum,
            maximum: self.maximum,
            spend_cap: self.spend_cap,
            proration: self.proration.unwrap_or_default(),
        };
        Ok((prices, self.effective.unwrap_or_default()))
    }
}

impl ModelName {
    fn as_str(self) -> &'static str {
        match self {
            Self::PerUnit => "per_unit",
            Self::Graduated => "graduated",
            Self::Volume => "volume",
            Self::Package => "package",
        }
    }
}

impl From<&PriceTier> for Tier {
    fn from(PriceTier { up_to, unit_amount, flat_amount }: &PriceTier) -> Self {
        Self { up_to: *up_to, unit_amount: *unit_amount, flat_amount: *flat_amount }
    }
}

impl From<Prices> for PlanPricesView {
    fn from(prices: Prices) -> Self {
        let currency = prices.currency;
        let amount = |amount: Money| amount.in_currency(currency);
        let unit = match &prices.model {
            Model::PerUnit { unit_amount } => Some(unit_amount.in_currency(currency)),
            _ => None,
        };
        let tier = |tier: &Tier| PriceTierView {
            up_to: tier.up_to,
            unit_amount: tier.unit_amount.in_currency(currency),
            flat_amount: amount(tier.flat_amount),
        };
        let tiers = match &prices.model {
            Model::Graduated { tiers } | Model::Volume { tiers } => Some(tiers.iter().map(tier).collect()),
            _ => None,
        };
        let package = match prices.model {
            Model::Package { package_size, package_amount } => Some((package_size, amount(package_amount))),
            _ => None,
        };
        Self {
            currency,
            base: amount(prices.base),
            model: prices.model.name(),
            included_units: prices.included_units,
            unit_amount: unit.clone(),
            overage_unit: unit,
            tiers,
            package_size: package.as_ref().map(|(size, _)| *size),
            package_amount: package.map(|(_, amount)| amount),
            minimum: prices.minimum.map(amount),
            maximum: prices.maximum.map(amount),
            spend_cap: prices.spend_cap.map(amount),
            proration: prices.proration,
        }
    }
}

fn model() -> ObjectBuilder {
    one_of(&["per_unit", "graduated", "volume", "package"])
}

fn proration() -> ObjectBuilder {
    one_of(&["changes", "time", "none"]).description(Some(
        "What of a period is owed: all of it, split where prices change; only the time that the key is there; or what is in \
         force at its end, whole. `changes` unless given.",
    ))
}

fn effective() -> ObjectBuilder {
    one_of(&["next_period", "now"])
}

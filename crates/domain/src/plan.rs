//! Plans: the limits, quota and prices that a tier of keys shares.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    BillingPeriod, Currency, Invalid, LimitSpec, Money, PlanId, PriceTerms, Prices, Rate, TenantId, period, text,
};

/// What happens when the period's quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overage {
    /// Further requests are refused until the period ends.
    Block,
    /// Further requests pass and are billed.
    Bill,
    /// Further requests pass slowly, as [`QuotaSpec::throttle`] says, and are not billed.
    Throttle,
}

/// How many requests pass once the quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Units per window.
    pub limit: u64,
    /// In seconds.
    pub window: u64,
}

/// The quota of a billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// Units per calendar month (UTC).
    pub limit: u64,
    /// What happens when the quota is used up.
    pub overage: Overage,
    /// With [`Overage::Throttle`], and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
}

/// When new prices of a plan come into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effective {
    /// With the next billing period, so that no past unit is priced anew.
    #[default]
    NextPeriod,
    /// With the next whole minute (UTC). Units keep the price of their minute.
    Now,
}

impl Effective {
    /// From when on.
    pub fn since(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::NextPeriod => BillingPeriod::containing(now).end,
            Self::Now => period::next_minute(now),
        }
    }
}

/// A tier of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The plan's id.
    pub id: PlanId,
    /// The tenant that owns the plan.
    pub tenant_id: TenantId,
    /// The slug that keys use as their `tier`. Unique per tenant; never changes.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// At least one. A key shows the first one as its `rate_limit`.
    pub limits: Vec<LimitSpec>,
    /// None when a period includes any number of units.
    pub quota: Option<QuotaSpec>,
    /// The plan's prices.
    pub prices: Prices,
    /// What the tier offers, for display.
    pub features: Vec<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Counts changes, from 1; `If-Match` compares it.
    pub version: i64,
}

/// Name of the limit that applies beyond a quota with [`Overage::Throttle`].
pub const OVERAGE: &str = "overage";
/// Largest monthly quota.
pub const MAX_QUOTA: u64 = 1_000_000_000_000;

/// Names every wrong member of prices and quota that belong to no plan.
///
/// # Errors
/// When there is one.
pub fn validate_prices(prices: &Prices, quota: Option<&QuotaSpec>) -> Result<(), Invalid> {
    let mut invalid = Invalid::none();
    validate_terms(prices, quota, &mut invalid);
    invalid.finish()
}

fn validate_terms(prices: &Prices, quota: Option<&QuotaSpec>, invalid: &mut Invalid) {
    if let Some(quota) = quota {
        invalid.require((1..=MAX_QUOTA).contains(&quota.limit), "/quota/limit", format!("from 1 to {MAX_QUOTA}"));
        quota.validate_throttle(invalid);
    }
    prices.validate(invalid);
}

impl QuotaSpec {
    /// How many units pass beyond the quota; None when that is not what happens there.
    pub fn throttled(&self) -> Option<Throttle> {
        self.throttle.filter(|_| self.overage == Overage::Throttle)
    }

    /// The limit that applies beyond the quota, by the name `overage`.
    pub fn throttle_limit(&self) -> Option<LimitSpec> {
        let throttle = self.throttled()?;
        Some(LimitSpec::sliding(OVERAGE, throttle.limit, throttle.window))
    }

    fn validate_throttle(&self, invalid: &mut Invalid) {
        match (self.overage, self.throttle_limit()) {
            (Overage::Throttle, Some(limit)) => limit.validate_numbers("/quota/throttle", invalid),
            (Overage::Throttle, None) => invalid.push("/quota/throttle", "required with overage \"throttle\""),
            _ => invalid.require(self.throttle.is_none(), "/quota/throttle", "only with overage \"throttle\""),
        }
    }
}

impl Plan {
    /// Fails with every wrong member.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::none();
        let slug = self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        invalid.require(
            slug && (1..=64).contains(&self.name.len()),
            "/name",
            "1 to 64 lower-case letters, digits, '-' or '_'",
        );
        invalid.require(text::DESCRIPTION.fit_any(self.description.as_deref()), "/description", text::DESCRIPTION);
        invalid.require(!self.limits.is_empty(), "/limits", "at least one limit");
        LimitSpec::validate_all(&self.limits, "/limits", &mut invalid);
        validate_terms(&self.prices, self.quota.as_ref(), &mut invalid);
        invalid.require(self.features.len() <= 50, "/features", "at most 50");
        for (index, feature) in self.features.iter().enumerate() {
            invalid.require(text::FEATURE.fit(feature), &format!("/features/{index}"), text::FEATURE);
        }
        invalid.finish()
    }

    /// What of it decides a bill.
    pub fn price_terms(&self) -> PriceTerms {
        PriceTerms::of(&self.prices, self.quota.as_ref())
    }

    /// The four plans of a fresh installation.
    pub fn defaults(tenant_id: TenantId, now: DateTime<Utc>, mut new_id: impl FnMut() -> PlanId) -> Vec<Self> {
        // Name, requests per hour and month, what is beyond, base in cents, unit in millionths of a dollar.
        type Row<'a> = (&'a str, u64, u64, Overage, i64, i128, &'a [&'a str]);
        let table: [Row<'_>; 4] = [
            ("free", 100, 10_000, Overage::Block, 0, 0, &["community support"]),
            ("standard", 1_000, 100_000, Overage::Bill, 2_900, 500, &["email support"]),
            ("pro", 10_000, 1_000_000, Overage::Bill, 19_900, 250, &["priority support", "usage export"]),
            (
                "enterprise",
                100_000,
                10_000_000,
                Overage::Bill,
                149_900,
                120,
                &["dedicated support", "usage export", "audit log"],
            ),
        ];
        table
            .into_iter()
            .map(|(name, hourly, quota, overage, base, unit, features)| Self {
                id: new_id(),
                tenant_id,
                name: name.to_owned(),
                description: None,
                limits: vec![LimitSpec::sliding("per-hour", hourly, 3_600)],
                quota: Some(QuotaSpec { limit: quota, overage, throttle: None }),
                prices: Prices::per_unit(Currency::USD, Money(base * 10_000), Rate(unit * 1_000_000)),
                features: features.iter().map(|f| (*f).to_owned()).collect(),
                created_at: now,
                updated_at: now,
                version: 1,
            })
            .collect()
    }
}

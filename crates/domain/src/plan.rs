//! Plans: the limits, quota and prices that a tier of keys shares.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Currency, Invalid, LimitSpec, Money, PlanId, TenantId, text};

/// What happens when the period's quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overage {
    /// Further requests are refused until the period ends.
    Block,
    /// Further requests pass and are billed at [`Prices::overage_unit`].
    Bill,
}

/// The quota of a billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    /// Units per calendar month (UTC).
    pub limit: u64,
    /// What happens when the quota is used up.
    pub overage: Overage,
}

/// The prices of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The currency of all amounts.
    pub currency: Currency,
    /// Per key and billing period.
    pub base: Money,
    /// Per unit beyond the quota.
    pub overage_unit: Money,
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

/// Largest monthly quota, within what the limiter's fixed windows count exactly.
pub const MAX_QUOTA: u64 = 1_000_000_000_000;
/// Largest price: twelve digits and six places.
pub const MAX_PRICE: Money = Money(999_999_999_999_999_999);

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
        if let Some(quota) = &self.quota {
            invalid.require((1..=MAX_QUOTA).contains(&quota.limit), "/quota/limit", format!("from 1 to {MAX_QUOTA}"));
        }
        for (pointer, price) in [("/prices/base", self.prices.base), ("/prices/overage_unit", self.prices.overage_unit)]
        {
            invalid.require((Money(0)..=MAX_PRICE).contains(&price), pointer, format_args!("from 0.00 to {MAX_PRICE}"));
        }
        invalid.require(self.features.len() <= 50, "/features", "at most 50");
        for (index, feature) in self.features.iter().enumerate() {
            invalid.require(text::FEATURE.fit(feature), &format!("/features/{index}"), text::FEATURE);
        }
        invalid.finish()
    }

    /// The cost of `used` units in one period: the base fee and the units beyond the quota.
    pub fn cost_of(&self, used: u64) -> Money {
        self.prices.base.plus(self.prices.overage_unit.times(self.overage_of(used)))
    }

    /// Units of `used` beyond the quota, which are billed.
    pub fn overage_of(&self, used: u64) -> u64 {
        match &self.quota {
            Some(QuotaSpec { limit, overage: Overage::Bill }) => used.saturating_sub(*limit),
            _ => 0,
        }
    }

    /// The four plans of a fresh installation.
    pub fn defaults(tenant_id: TenantId, now: DateTime<Utc>, mut new_id: impl FnMut() -> PlanId) -> Vec<Self> {
        type Row<'a> = (&'a str, u64, u64, Overage, i64, i64, &'a [&'a str]);
        let table: [Row<'_>; 4] = [
            ("free", 100, 10_000, Overage::Block, 0, 0, &["community support"]),
            ("standard", 1_000, 100_000, Overage::Bill, 29_000_000, 500, &["email support"]),
            ("pro", 10_000, 1_000_000, Overage::Bill, 199_000_000, 250, &["priority support", "usage export"]),
            (
                "enterprise",
                100_000,
                10_000_000,
                Overage::Bill,
                1_499_000_000,
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
                quota: Some(QuotaSpec { limit: quota, overage }),
                prices: Prices { currency: Currency::USD, base: Money(base), overage_unit: Money(unit) },
                features: features.iter().map(|f| (*f).to_owned()).collect(),
                created_at: now,
                updated_at: now,
                version: 1,
            })
            .collect()
    }
}

//! What of a plan decides a bill.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use uuid::Builder;

use super::{Model, Prices, Proration};
use crate::{Currency, Money, Overage, PlanId, PriceId, QuotaSpec, TenantId};

/// The terms of one span of time. Equal terms of a plan are one: what they are made of is their id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTerms {
    /// Currency of all amounts.
    pub currency: Currency,
    /// Due whatever is used.
    pub base: Money,
    /// What billed units cost.
    #[serde(flatten)]
    pub model: Model,
    /// Units that the base covers, where the plan says so itself.
    pub included_units: Option<u64>,
    /// Units of the plan's quota.
    pub quota: Option<u64>,
    /// What becomes of units beyond the quota; only [`Overage::Bill`] makes them cost something.
    pub overage: Overage,
    /// Base and usage cost at least this.
    pub minimum: Option<Money>,
    /// Base and usage cost at most this.
    pub maximum: Option<Money>,
    /// Of the last terms of a period: what of the period counts.
    pub proration: Proration,
}

impl PriceTerms {
    /// What a plan with these prices and this quota comes to.
    pub fn of(prices: &Prices, quota: Option<&QuotaSpec>) -> Self {
        Self {
            currency: prices.currency,
            base: prices.base,
            model: prices.model.clone(),
            included_units: prices.included_units,
            quota: quota.map(|quota| quota.limit),
            overage: quota.map_or(Overage::Bill, |quota| quota.overage),
            minimum: prices.minimum,
            maximum: prices.maximum,
            proration: prices.proration,
        }
    }

    /// Units that cost nothing, taken off first. None: any number.
    pub fn included(&self) -> Option<u64> {
        self.included_units.or(self.quota)
    }

    /// Units from here on are not billed: the quota refuses them, or slows them down. None: all are.
    pub fn billed_up_to(&self) -> Option<u64> {
        self.quota.filter(|_| self.overage != Overage::Bill)
    }

    /// The id of these terms of a plan: the same wherever and whenever it is made.
    ///
    /// # Errors
    /// Never in practice: the terms are texts and whole numbers.
    pub fn id(&self, tenant_id: TenantId, plan_id: PlanId) -> Result<PriceId, serde_json::Error> {
        let parts: [&[u8]; 3] = [tenant_id.0.as_bytes(), plan_id.0.as_bytes(), &serde_json::to_vec(self)?];
        let hash = parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize();
        let bytes = hash.first_chunk().copied().unwrap_or_default();
        Ok(PriceId(Builder::from_custom_bytes(bytes).into_uuid()))
    }
}

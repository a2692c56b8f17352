//! What units would cost. Nothing is stored, and the same code closes a period.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    BillingPeriod, Currency, Invalid, PlanId, Prices, QuotaSpec, TenantId,
    price::{
        Bill, PriceTerms, PriceVersion, Timeline,
        segment::{Change, Lifetime},
    },
};
use uuid::Uuid;

use super::Billing;
use crate::Error;

/// The plan of a part of a period.
#[derive(Clone, Debug)]
pub enum PreviewPlan {
    /// An existing plan, by its name.
    Named(String),
    /// A plan that may be made, whose prices and quota are valid.
    Given(Prices, Option<QuotaSpec>),
}

/// A part of a period, its plan and its units.
#[derive(Clone, Debug)]
pub struct PreviewSegment {
    /// A JSON Pointer to it in the request, for what is wrong.
    pub at: String,
    /// The first moment. None: the period's.
    pub start: Option<DateTime<Utc>>,
    /// The first moment after it. None: the period's end.
    pub end: Option<DateTime<Utc>>,
    /// What it costs.
    pub plan: PreviewPlan,
    /// Units used in it.
    pub units: u64,
}

/// A period that might be.
#[derive(Clone, Debug)]
pub struct Preview {
    /// None: the present month.
    pub period: Option<BillingPeriod>,
    /// All plans must be in it, if it is given.
    pub currency: Option<Currency>,
    /// At least one; each begins where the one before ends.
    pub segments: Vec<PreviewSegment>,
}

impl Billing<'_> {
    /// What the period would cost.
    ///
    /// # Errors
    /// [`Error::Invalid`] names what cannot be priced.
    pub async fn preview(self, tenant_id: TenantId, preview: Preview) -> Result<(BillingPeriod, Bill), Error> {
        let period = preview.period.unwrap_or_else(|| BillingPeriod::containing(self.0.clock().now()));
        let (mut invalid, mut timeline, mut units) = (Invalid::none(), Timeline::default(), Vec::new());
        let (mut first, mut before, mut currency) = (period.start, None, preview.currency);
        for segment in preview.segments {
            let at = |member: &str| format!("{}/{member}", segment.at);
            let (start, end) = (segment.start.unwrap_or(period.start), segment.end.unwrap_or(period.end));
            let within = period.start <= start && start < end && end <= period.end;
            invalid.require(within, &at("start"), "start must lie before end, and both within the period");
            match before {
                None => first = start,
                Some(end) => invalid.require(start == end, &at("start"), "must be the end of the segment before"),
            }
            before = Some(end);
            let (plan_id, plan_name, terms) = self.terms_of(tenant_id, segment.plan, &at("plan")).await?;
            let wanted = *currency.get_or_insert(terms.currency);
            invalid.require(wanted == terms.currency, &at("plan"), format_args!("its currency must be {wanted}"));
            let id = terms.id(tenant_id, plan_id).map_err(|error| Error::Internal(error.to_string()))?;
            timeline.changes.push((start, id));
            timeline.versions.insert(id, PriceVersion { plan_name, terms });
            units.push((start, segment.units) as Change<u64>);
        }
        invalid.finish()?;
        let bill = timeline.bill(period, Lifetime { from: first, to: before }, &units)?;
        let nothing = || Error::Invalid(Invalid::field("/segments", "at least one"));
        Ok((period, bill.ok_or_else(nothing)?))
    }

    async fn terms_of(
        self,
        tenant_id: TenantId,
        plan: PreviewPlan,
        at: &str,
    ) -> Result<(PlanId, String, PriceTerms), Error> {
        match plan {
            PreviewPlan::Named(name) => {
                let plan = self.0.repository().plans().by_name(tenant_id, &name).await?;
                let plan = plan.ok_or_else(|| Error::Invalid(Invalid::field(at, "no such plan")))?;
                Ok((plan.id, plan.name.clone(), plan.price_terms()))
            }
            PreviewPlan::Given(prices, quota) => {
                Ok((PlanId(Uuid::nil()), "preview".into(), PriceTerms::of(&prices, quota.as_ref())))
            }
        }
    }
}

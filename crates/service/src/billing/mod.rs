//! What keys owe. The arithmetic is the domain's ([`tollgate_domain::price`]); this reads what it needs.

use tollgate_domain::{ApiKeyId, BillingPeriod, TenantId, price::Bill};
use tollgate_repository::PeriodUsage;

use crate::{Error, Service, keys::KEY};

pub mod close;
pub mod credits;
pub mod preview;
mod reconcile;
pub mod records;

pub use tollgate_repository::{Application, Export, ExportRange, SummaryRow, Voided};

pub(crate) const RECORD: &str = "billing record";

/// What keys owe.
#[derive(Clone, Copy)]
pub struct Billing<'a>(&'a Service);

impl Service {
    /// What keys owe.
    pub fn billing(&self) -> Billing<'_> {
        Billing(self)
    }
}

impl Billing<'_> {
    /// What a key did in a period until now, and the bill if it did nothing more.
    pub(crate) async fn estimate(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        period: BillingPeriod,
    ) -> Result<(PeriodUsage, Bill), Error> {
        let usage = self.0.repository().billing().period(tenant_id, id, period).await?.ok_or(Error::NotFound(KEY))?;
        let bill = usage.timeline.bill(period, usage.lifetime, &usage.units)?;
        let bill = bill.ok_or_else(|| Error::Internal(format!("the key {id} has no prices")))?;
        Ok((usage, bill))
    }
}

//! Records: stored ones, running estimates, their payment and their sums.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKey, ApiKeyId, BillingPeriod, Environment, KeyFilter, Money, Page, Paged, RecordId, TenantId,
    billing::{
        PaymentStatus, Record, RecordFilter, RecordLine, RecordStatus, SummaryGroup,
        close::{Closed, Closing, Holder},
    },
    price::{Bill, bill::add_units, total},
};
use tollgate_repository::{Export, ExportRange, Payment, SummaryRow};

use super::{Billing, RECORD};
use crate::{Error, keys::require_version};

/// A change of a record's payment, as it is asked for.
#[derive(Clone, Debug)]
pub struct PaymentChange {
    /// What it becomes.
    pub status: PaymentStatus,
    /// What was paid in all; with `paid`, all that is due unless given.
    pub amount_paid: Option<Money>,
    /// Now unless given.
    pub paid_at: Option<DateTime<Utc>>,
    /// The payer's or the provider's own name for it.
    pub reference: Option<String>,
}

impl Billing<'_> {
    /// The running record of a key: as if the period ended with the usage so far. Nothing is stored. And the units and the
    /// amount due if use goes on as it did; none in the first tenth of the period.
    pub async fn current(self, tenant_id: TenantId, id: ApiKeyId) -> Result<Current, Error> {
        let key = self.0.keys().get_even_deleted(tenant_id, id).await?.detail.key;
        let now = self.0.clock().now();
        let period = BillingPeriod::containing(now);
        let (usage, bill) = self.estimate(tenant_id, id, period).await?;
        let (record, lines) = open(&key, period, &bill)?;
        let projected = match projected_units(period, now, record.units) {
            Some(units) => {
                let mut used = usage.units;
                add_units(&mut used, now, units - record.units);
                let bill = usage.timeline.bill(period, usage.lifetime, &used)?;
                let due = bill.map(|bill| total(bill.currency, bill.amounts())).transpose()?;
                due.map(|due| (units, due.amount_due))
            }
            None => None,
        };
        Ok((record, lines, projected))
    }

    /// One stored record with its lines.
    pub async fn record(self, tenant_id: TenantId, id: RecordId) -> Result<(Record, Vec<RecordLine>), Error> {
        self.0.repository().billing().record(tenant_id, id).await?.ok_or(Error::NotFound(RECORD))
    }

    /// A page of records without lines: stored ones, or with the status `open` running estimates, by key.
    pub async fn records(self, tenant_id: TenantId, filter: &RecordFilter, page: Page) -> Result<Paged<Record>, Error> {
        // Those of tests are never stored.
        let is_open = filter.status == Some(RecordStatus::Open) || filter.environment == Some(Environment::Test);
        if !is_open {
            return Ok(self.0.repository().billing().records(tenant_id, filter, page).await?);
        }
        let keys = KeyFilter { tier: filter.tier.clone(), owner_id: filter.owner_id.clone(), ..KeyFilter::default() };
        let Paged { items, total } = match filter.api_key_id {
            None => self.0.keys().list(tenant_id, &keys, page).await?,
            Some(id) => {
                let found = self.0.keys().get(tenant_id, id).await?;
                Paged { items: if page.page == 1 { vec![found] } else { Vec::new() }, total: 1 }
            }
        };
        let period = BillingPeriod::containing(self.0.clock().now());
        let environment = filter.environment.unwrap_or(Environment::Live);
        let mut records = Vec::with_capacity(items.len());
        for key in items.into_iter().map(|detail| detail.key).filter(|key| key.environment == environment) {
            let (_, bill) = self.estimate(tenant_id, key.id, period).await?;
            records.push(open(&key, period, &bill)?.0);
        }
        records.retain(|record| filter.currency.is_none_or(|currency| currency == record.currency));
        Ok(Paged { items: records, total })
    }

    /// Changes what was paid of a closed record; with `expected`, only if that is its version.
    ///
    /// # Errors
    /// [`Error::Conflict`] names what may follow.
    pub async fn change_payment(
        self,
        tenant_id: TenantId,
        id: RecordId,
        change: PaymentChange,
        expected: Option<i64>,
    ) -> Result<Record, Error> {
        let now = self.0.clock().now();
        let changed = self.0.repository().billing().change_payment(tenant_id, id, now, |record| {
            require_version(expected, record.version)?;
            let Some(before) = record.payment_status else {
                return Err(Error::Conflict("a void record has no payment".into()));
            };
            if before == change.status && change.amount_paid.is_none_or(|amount| amount == record.amount_paid) {
                return Ok(None);
            }
            let allowed = before.next(record.amount_paid);
            if before != change.status && !allowed.contains(&change.status) {
                let names: Vec<_> = allowed.iter().map(|status| status.as_str()).collect();
                let allowed = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
                return Err(Error::Conflict(format!("from {} it may become {allowed}", before.as_str())));
            }
            let amount_paid = match change.status {
                PaymentStatus::Paid => change.amount_paid.unwrap_or(record.amount_due),
                _ => change.amount_paid.unwrap_or(record.amount_paid),
            };
            let paid_at = match change.status {
                PaymentStatus::Paid => Some(change.paid_at.unwrap_or(now)),
                _ => record.paid_at,
            };
            let reference = change.reference.clone();
            Ok(Some(Payment { status: change.status, amount_paid, paid_at, reference }))
        });
        changed.await?.ok_or(Error::NotFound(RECORD))
    }

    /// Sums of closed records.
    pub async fn summary(
        self,
        tenant_id: TenantId,
        period: Option<BillingPeriod>,
        group: SummaryGroup,
    ) -> Result<Vec<SummaryRow>, Error> {
        Ok(self.0.repository().billing().summary(tenant_id, period, group).await?)
    }

    /// Begins an export, which is one snapshot.
    pub async fn export(self, tenant_id: TenantId, range: ExportRange) -> Result<Export, Error> {
        Ok(self.0.repository().billing().export(tenant_id, range).await?)
    }
}

/// A running record, its lines, and what it will come to: units and the amount due.
pub type Current = (Record, Vec<RecordLine>, Option<(u64, Money)>);

fn open(key: &ApiKey, period: BillingPeriod, bill: &Bill) -> Result<(Record, Vec<RecordLine>), Error> {
    let holder = Holder {
        tenant_id: key.tenant_id,
        api_key_id: key.id,
        name: key.name.clone(),
        owner_id: key.owner_id.clone(),
        environment: key.environment,
    };
    let closing = Closing {
        holder: &holder,
        period,
        bill,
        revision: 1,
        late: &[],
        grants: &mut [],
        complete: false,
        closed_at: period.end,
        due_at: period.end,
    };
    let Closed { mut record, lines, .. } = closing.close()?;
    (record.status, record.payment_status) = (RecordStatus::Open, None);
    (record.closed_at, record.due_at, record.paid_at) = (None, None, None);
    Ok((record, lines))
}

/// The units of the whole period if use goes on as it did. Before a tenth of it is over, too little is known.
fn projected_units(period: BillingPeriod, now: DateTime<Utc>, units: u64) -> Option<u64> {
    let micros = |from: DateTime<Utc>, to: DateTime<Utc>| i128::from(to.timestamp_micros() - from.timestamp_micros());
    let (elapsed, whole) = (micros(period.start, now), micros(period.start, period.end));
    let enough = elapsed > 0 && elapsed.saturating_mul(10) >= whole;
    enough.then(|| u64::try_from(i128::from(units) * whole / elapsed).ok()).flatten()
}

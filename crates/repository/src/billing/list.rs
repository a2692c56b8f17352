//! Records: one with its lines, pages of them, and their sums.

use chrono::{DateTime, Utc};
use sqlx::{Encode, QueryBuilder, Type};
use tollgate_domain::{
    BillingPeriod, Order, Page, Paged, RecordId, TenantId,
    billing::{Record, RecordFilter, RecordLine, RecordOrder, SummaryGroup},
};
use uuid::Uuid;

use super::{
    Billing,
    rows::{self, RecordRow, record_columns},
};
use crate::{Error, core::time::micros};

/// Sums of a group of records in one currency.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the members are those of the contract")]
pub struct SummaryRow {
    pub name: Option<String>,
    pub currency: String,
    pub records: i64,
    pub units: i64,
    pub total: i64,
    pub amount_due: i64,
    pub paid: i64,
    pub outstanding: i64,
    pub overdue: i64,
}

impl Billing<'_> {
    /// A record with its lines.
    pub async fn record(self, tenant_id: TenantId, id: RecordId) -> Result<Option<(Record, Vec<RecordLine>)>, Error> {
        self.0
            .snapshot(|mut tx| async move {
                let found = async {
                    let Some(record) = rows::get(&mut tx, tenant_id, id).await? else { return Ok(None) };
                    Ok(Some((record, rows::lines(&mut tx, tenant_id, id).await?)))
                };
                Ok(found.await)
            })
            .await?
    }

    /// A page of stored records. May lag.
    pub async fn records(self, tenant_id: TenantId, filter: &RecordFilter, page: Page) -> Result<Paged<Record>, Error> {
        let (rows, total): (Vec<RecordRow>, i64) = self
            .0
            .read_lagging(|db| async move {
                on!(&db, pool => {
                    let mut list =
                        QueryBuilder::new(concat!("select ", record_columns!(), " from billing_records r where "));
                    push_filter(&mut list, tenant_id, filter);
                    list.push(order_clause(filter)).push(" limit ").push_bind(page.rows());
                    list.push(" offset ").push_bind(page.offset());
                    let rows = list.build_query_as().fetch_all(pool).await?;
                    let mut count = QueryBuilder::new("select count(*) from billing_records r where ");
                    push_filter(&mut count, tenant_id, filter);
                    Ok((rows, count.build_query_scalar().fetch_one(pool).await?))
                })
            })
            .await?;
        let items = rows.into_iter().map(Record::try_from).collect::<Result<_, _>>()?;
        Ok(Paged { items, total })
    }

    /// Sums of closed records, of one month or of all; by status also of void ones. May lag.
    pub async fn summary(
        self,
        tenant_id: TenantId,
        period: Option<BillingPeriod>,
        group: SummaryGroup,
    ) -> Result<Vec<SummaryRow>, Error> {
        macro_rules! summary {
            ($name:literal, $group:literal, $which:literal) => {
                concat!(
                    "select ", $name, " as name, currency, count(*) as records, cast(sum(units) as bigint) as units,
                        cast(sum(total) as bigint) as total, cast(sum(amount_due) as bigint) as amount_due,
                        cast(sum(amount_paid) as bigint) as paid,
                        cast(sum(case when payment_status in ('pending', 'failed', 'overdue')
                            then amount_due - amount_paid else 0 end) as bigint) as outstanding,
                        cast(sum(case when payment_status = 'overdue' then amount_due - amount_paid else 0 end) as bigint)
                            as overdue
                     from billing_records where tenant_id = $1 and period_start >= $2 and period_start < $3 ", $which,
                    " group by ", $group, "currency order by ", $group, "currency"
                )
            };
        }
        let text = match group {
            SummaryGroup::Currency => summary!("cast(null as text)", "", "and status <> 'void'"),
            SummaryGroup::Tier => summary!("tier", "tier, ", "and status <> 'void'"),
            SummaryGroup::Owner => summary!("owner_id", "owner_id, ", "and status <> 'void'"),
            SummaryGroup::Status => summary!("status", "status, ", ""),
        };
        let (from, to) = period.map_or((DateTime::UNIX_EPOCH, FAR_AHEAD), |period| (period.start, period.end));
        self.0
            .read_lagging(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(micros(from)).bind(micros(to)).fetch_all(pool).await)
            })
            .await
    }
}

/// After every period.
const FAR_AHEAD: DateTime<Utc> = DateTime::from_timestamp_micros(253_402_300_799_000_000).unwrap();

fn push_filter<DB>(query: &mut QueryBuilder<DB>, tenant_id: TenantId, filter: &RecordFilter)
where
    DB: sqlx::Database,
    for<'t> Uuid: Encode<'t, DB> + Type<DB>,
    for<'t> String: Encode<'t, DB> + Type<DB>,
    for<'t> &'static str: Encode<'t, DB> + Type<DB>,
    for<'t> DateTime<Utc>: Encode<'t, DB> + Type<DB>,
{
    query.push("r.tenant_id = ").push_bind(tenant_id.0);
    if let Some(status) = filter.status {
        query.push(" and r.status = ").push_bind(status.as_str());
    }
    if let Some(payment) = filter.payment_status {
        query.push(" and r.payment_status = ").push_bind(payment.as_str());
    }
    if let Some(key) = filter.api_key_id {
        query.push(" and r.api_key_id = ").push_bind(key.0);
    }
    if let Some(owner_id) = &filter.owner_id {
        query.push(" and r.owner_id = ").push_bind(owner_id.clone());
    }
    if let Some(tier) = &filter.tier {
        query.push(" and r.tier = ").push_bind(tier.clone());
    }
    if let Some(currency) = filter.currency {
        query.push(" and r.currency = ").push_bind(currency.to_string());
    }
    if let Some(environment) = filter.environment {
        query.push(" and r.environment = ").push_bind(environment.as_str());
    }
    if let Some(period) = filter.period {
        query.push(" and r.period_start = ").push_bind(period.start);
    }
}

fn order_clause(filter: &RecordFilter) -> &'static str {
    match (filter.order_by, filter.order) {
        (RecordOrder::Period, Order::Asc) => " order by r.period_start, r.api_key_id, r.revision",
        (RecordOrder::Period, Order::Desc) => " order by r.period_start desc, r.api_key_id desc, r.revision desc",
        (RecordOrder::AmountDue, Order::Asc) => " order by r.amount_due, r.id",
        (RecordOrder::AmountDue, Order::Desc) => " order by r.amount_due desc, r.id desc",
        (RecordOrder::CreatedAt, Order::Asc) => " order by r.closed_at, r.id",
        (RecordOrder::CreatedAt, Order::Desc) => " order by r.closed_at desc, r.id desc",
    }
}

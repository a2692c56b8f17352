//! All that a key's bill for a period is made of, read in one snapshot.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Counts, TenantId,
    period::{minute_of, month_of, next_minute},
    price::{
        Timeline,
        bill::add_units,
        segment::{Change, Lifetime, index_at, starts},
    },
};

use super::Billing;
use crate::{
    Error,
    core::database::Tx,
    prices,
    usage::{self, pending},
};

/// What a key did in a period, and what it costs.
#[derive(Clone, Debug)]
pub struct PeriodUsage {
    /// Units by what became of them.
    pub counts: Counts,
    /// The admitted ones, by where their segments begin.
    pub units: Vec<Change<u64>>,
    /// Which prices are in force from when.
    pub timeline: Timeline,
    /// How long the key is billed.
    pub lifetime: Lifetime,
}

impl Billing<'_> {
    /// What the key did in the period until now, also if it is deleted. None: there never was such a key. From the primary.
    pub async fn period(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        period: BillingPeriod,
    ) -> Result<Option<PeriodUsage>, Error> {
        self.0.snapshot(|mut tx| async move { Ok(of_key(&mut tx, tenant_id, id, period).await) }).await?
    }
}

/// When a key was made, and what ended it.
#[derive(sqlx::FromRow)]
pub(super) struct LifetimeRow {
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// [`Billing::period`] as this transaction sees it.
pub(crate) async fn of_key(
    tx: &mut Tx,
    tenant_id: TenantId,
    id: ApiKeyId,
    period: BillingPeriod,
) -> Result<Option<PeriodUsage>, Error> {
    let Some(lifetime) = lifetime(tx, tenant_id, id).await? else { return Ok(None) };
    let timeline = prices::of_key(tx, tenant_id, id).await?;
    let mut counts = usage::read::counts_of_period(tx, tenant_id, id, period.start).await?;
    let mut units = stored_units(tx, tenant_id, id, period.start).await?;
    let starts = starts(period, &timeline.changes);
    for row in pending::of_key(tx, tenant_id, id).await?.iter().flat_map(|usage| &usage.minutes) {
        if month_of(row.minute) == period.start {
            counts.add(&row.counts);
            let index = index_at(starts.iter().map(|(start, _)| *start), row.minute);
            let start = starts.get(index).map_or(period.start, |(start, _)| *start);
            add_units(&mut units, start, u64::try_from(row.counts.allowed).unwrap_or(0));
        }
    }
    Ok(Some(PeriodUsage { counts, units, timeline, lifetime }))
}

async fn lifetime(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId) -> Result<Option<Lifetime>, Error> {
    let text = "
        select k.created_at, k.expires_at, k.deleted_at, a.ended_at
        from api_keys k left join billing_accounts a on a.tenant_id = k.tenant_id and a.api_key_id = k.id
        where k.tenant_id = $1 and k.id = $2";
    let row: Option<LifetimeRow> =
        on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    Ok(row.map(Lifetime::from))
}

impl From<LifetimeRow> for Lifetime {
    /// Whole minutes: the first and the last count.
    fn from(row: LifetimeRow) -> Self {
        let ends = [row.expires_at, row.deleted_at, row.ended_at].into_iter().flatten().min();
        Self { from: minute_of(row.created_at), to: ends.map(next_minute) }
    }
}

/// Units of the tables by where their segments begin.
async fn stored_units(
    tx: &mut Tx,
    tenant_id: TenantId,
    id: ApiKeyId,
    period_start: DateTime<Utc>,
) -> Result<Vec<Change<u64>>, Error> {
    let text = "
        select starts_at, units from usage_segments
        where tenant_id = $1 and api_key_id = $2 and period_start = $3 order by starts_at";
    let rows: Vec<(DateTime<Utc>, i64)> = on!(tx, t =>
        sqlx::query_as(text).bind(tenant_id.0).bind(id.0).bind(period_start).fetch_all(&mut **t).await)?;
    Ok(rows.into_iter().map(|(start, units)| (start, u64::try_from(units).unwrap_or(0))).collect())
}

//! What keys used: totals, series and endpoints. Each adds the pending usage to the tables' figures, in one snapshot,
//! so that nothing is missing and nothing counts twice while a fold moves it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, Granularity, TenantId, UsageStats,
    period::{day_of, month_of},
    usage::{Counts, KeyUsage, MinuteUsage},
};
use uuid::Uuid;

use super::Usage;
use crate::{
    Error,
    core::{database::Tx, text::storable, time::micros},
    usage::pending,
};

/// The SQL text of a series.
macro_rules! series {
    ($time:literal, $table:literal) => {
        concat!(
            "select ",
            $time,
            " as bucket, allowed, rate_limited, quota_exceeded, rejected from ",
            $table,
            " where tenant_id = $1 and api_key_id = $2 and ",
            $time,
            " >= $3 and ",
            $time,
            " < $4 order by ",
            $time
        )
    };
}

#[derive(sqlx::FromRow)]
struct CountsRow {
    allowed: i64,
    rate_limited: i64,
    quota_exceeded: i64,
    rejected: i64,
}

#[derive(sqlx::FromRow)]
struct BucketRow {
    bucket: DateTime<Utc>,
    #[sqlx(flatten)]
    counts: CountsRow,
}

impl From<CountsRow> for Counts {
    fn from(row: CountsRow) -> Self {
        Self {
            allowed: row.allowed,
            rate_limited: row.rate_limited,
            quota_exceeded: row.quota_exceeded,
            rejected: row.rejected,
        }
    }
}

#[derive(sqlx::FromRow)]
struct StatsRow {
    total: i64,
    this_month: i64,
    today: i64,
    last_at: Option<DateTime<Utc>>,
}

impl Usage<'_> {
    /// The key's counts in the billing period that starts at `period_start`. From the primary.
    pub async fn of_period(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        period_start: DateTime<Utc>,
    ) -> Result<Counts, Error> {
        let (mut counts, waiting) = self
            .0
            .snapshot(|mut tx| async move {
                let stored = counts_of_period(&mut tx, tenant_id, id, period_start).await?;
                Ok((stored, pending::of_key(&mut tx, tenant_id, id).await?))
            })
            .await?;
        minutes(&waiting).filter(|row| month_of(row.minute) == period_start).for_each(|row| counts.add(&row.counts));
        Ok(counts)
    }

    /// Units admitted in the period for at most `limit` keys that were used since, of all tenants. Limiters raise
    /// their quota counters to at least these. Keys used in the last minutes come first. Pending usage is not
    /// included; its fold raises the counters.
    pub async fn period_totals(
        self,
        active_since: DateTime<Utc>,
        period_start: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<(TenantId, ApiKeyId, i64)>, Error> {
        let text = "
            select p.tenant_id, p.api_key_id, p.allowed
            from (select distinct tenant_id, api_key_id from
                (select tenant_id, api_key_id from usage_minutes where minute >= $2 order by minute desc limit $3) newest
            ) used
            join usage_periods p on p.tenant_id = used.tenant_id and p.api_key_id = used.api_key_id
            where p.period_start = $1";
        let rows: Vec<(Uuid, Uuid, i64)> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(micros(period_start)).bind(micros(active_since)).bind(limit).fetch_all(pool).await)
            })
            .await?;
        Ok(rows.into_iter().map(|(tenant, key, allowed)| (TenantId(tenant), ApiKeyId(key), allowed)).collect())
    }

    /// Totals of one key; all zero for a key that was never used. May lag.
    pub async fn stats(self, tenant_id: TenantId, id: ApiKeyId, now: DateTime<Utc>) -> Result<UsageStats, Error> {
        let text = "
            select
                cast(coalesce(sum(requests), 0) as bigint) as total,
                cast(coalesce(sum(requests) filter (where period_start = $3), 0) as bigint) as this_month,
                cast((select coalesce(sum(d.allowed + d.rate_limited + d.quota_exceeded + d.rejected), 0)
                    from usage_days d
                    where d.tenant_id = $1 and d.api_key_id = $2 and d.day = $4) as bigint) as today,
                max(last_at) as last_at
            from (
                select period_start, last_at, allowed + rate_limited + quota_exceeded + rejected as requests
                from usage_periods where tenant_id = $1 and api_key_id = $2
            ) periods";
        let (month, today) = (month_of(now), day_of(now));
        let (row, waiting): (StatsRow, _) = self
            .0
            .lagging_snapshot(|mut tx| async move {
                let row = on!(&mut tx, t => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(month).bind(today).fetch_one(&mut **t).await?);
                Ok((row, pending::of_key(&mut tx, tenant_id, id).await?))
            })
            .await?;
        let mut stats = UsageStats {
            total_requests: row.total,
            requests_this_month: row.this_month,
            requests_today: row.today,
            last_used_at: row.last_at,
        };
        for row in minutes(&waiting) {
            let requests = row.counts.requests();
            let when = |applies: bool| if applies { requests } else { 0 };
            stats.total_requests += requests;
            stats.requests_this_month += when(month_of(row.minute) == month);
            stats.requests_today += when(day_of(row.minute) == today);
            stats.last_used_at = stats.last_used_at.max(Some(row.last_at));
        }
        Ok(stats)
    }

    /// The buckets that start in `from..to` and have data, oldest first. May lag.
    pub async fn series(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        granularity: Granularity,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<(DateTime<Utc>, Counts)>, Error> {
        let text = match granularity {
            Granularity::Hourly => series!("hour", "usage_hours"),
            Granularity::Daily => series!("day", "usage_days"),
            Granularity::Monthly => series!("period_start", "usage_periods"),
        };
        let (rows, waiting): (Vec<BucketRow>, _) = self
            .0
            .lagging_snapshot(|mut tx| async move {
                let rows = on!(&mut tx, t => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(micros(from)).bind(micros(to)).fetch_all(&mut **t).await?);
                Ok((rows, pending::of_key(&mut tx, tenant_id, id).await?))
            })
            .await?;
        let mut buckets: BTreeMap<_, Counts> = rows.into_iter().map(|row| (row.bucket, row.counts.into())).collect();
        for row in minutes(&waiting) {
            let bucket = granularity.bucket_of(row.minute);
            if (from..to).contains(&bucket) {
                buckets.entry(bucket).or_default().add(&row.counts);
            }
        }
        Ok(buckets.into_iter().collect())
    }

    /// Endpoints by units admitted since the start of `since_day`, the most used first, at most `limit`. May lag.
    pub async fn top_endpoints(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        since_day: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<(String, i64)>, Error> {
        let text = "
            select endpoint, cast(sum(allowed) as bigint) from usage_endpoints
            where tenant_id = $1 and api_key_id = $2 and day >= $3 group by endpoint";
        let since_day = day_of(since_day);
        let (rows, waiting): (Vec<(String, i64)>, _) = self
            .0
            .lagging_snapshot(|mut tx| async move {
                let rows = on!(&mut tx, t => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(since_day).fetch_all(&mut **t).await?);
                Ok((rows, pending::of_key(&mut tx, tenant_id, id).await?))
            })
            .await?;
        let mut sums: BTreeMap<String, i64> = rows.into_iter().collect();
        for row in waiting.iter().flat_map(|usage| &usage.endpoints).filter(|row| row.day >= since_day) {
            let sum = sums.entry(storable(&row.endpoint)).or_default();
            *sum = sum.saturating_add(row.allowed);
        }
        let mut top: Vec<_> = sums.into_iter().collect();
        top.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        top.truncate(limit);
        Ok(top)
    }
}

/// The tables' counts of a period, as this transaction sees them.
pub(crate) async fn counts_of_period(
    tx: &mut Tx,
    tenant_id: TenantId,
    id: ApiKeyId,
    period_start: DateTime<Utc>,
) -> Result<Counts, sqlx::Error> {
    let text = "
        select allowed, rate_limited, quota_exceeded, rejected from usage_periods
        where tenant_id = $1 and api_key_id = $2 and period_start = $3";
    let stored: Option<CountsRow> = on!(tx, t => sqlx::query_as(text)
        .bind(tenant_id.0).bind(id.0).bind(micros(period_start)).fetch_optional(&mut **t).await?);
    Ok(stored.map(Counts::from).unwrap_or_default())
}

fn minutes(waiting: &[KeyUsage]) -> impl Iterator<Item = &MinuteUsage> {
    waiting.iter().flat_map(|usage| &usage.minutes)
}

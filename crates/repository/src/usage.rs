//! What keys did: adding a journal's sums, and reading totals, series and endpoints.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, JournalStream, TenantId,
    usage::{Counts, UsageBatch},
};
use uuid::Uuid;

use crate::{
    Applied, Error, Repository,
    calendar::{day_of, micros, month_of},
    journal_cursors,
    usage_sums::Sums,
};

/// The length of a series' buckets, which start on whole hours, days or months in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// 60 minutes.
    Hourly,
    /// 24 hours.
    Daily,
    /// A calendar month.
    Monthly,
}

/// A key's requests, admitted (in units) and refused for whatever reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageStats {
    /// Ever.
    pub total_requests: i64,
    /// In the calendar month, UTC.
    pub requests_this_month: i64,
    /// Since midnight, UTC.
    pub requests_today: i64,
    /// The last decision.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// How many keys [`Repository::period_totals`] tells at most.
const MAX_TOTALS: i64 = 100_000;

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

impl Repository {
    /// Moves the journal's cursor over the batch and adds its rows, in one transaction; a batch that was applied before
    /// changes nothing. Rows of keys that do not exist are left out.
    pub async fn apply_usage(&self, batch: &UsageBatch) -> Result<Applied, Error> {
        self.write(|| async {
            let mut tx = self.begin().await?;
            let applied = journal_cursors::advance(&mut tx, &batch.span, JournalStream::Usage).await?;
            if applied == Applied::Moved {
                let mut sums = Sums::default();
                batch.usage.iter().for_each(|row| sums.add_usage(row));
                batch.endpoints.iter().for_each(|row| sums.add_endpoint(row));
                sums.keep_known(&mut tx).await?;
                sums.write(&mut tx).await?;
                tx.commit().await?;
            }
            Ok(applied)
        })
        .await
    }

    /// What the key did in the billing period that starts at `period_start`. From the primary.
    pub async fn period_usage(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        period_start: DateTime<Utc>,
    ) -> Result<Counts, Error> {
        let text = "
            select allowed, rate_limited, quota_exceeded, rejected from usage_periods
            where tenant_id = $1 and api_key_id = $2 and period_start = $3";
        let row: Option<CountsRow> = self
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(micros(period_start)).fetch_optional(pool).await)
            })
            .await?;
        Ok(row.map(Counts::from).unwrap_or_default())
    }

    /// Units admitted in the period, of the keys of all tenants that were used since: what limiters are told as the least
    /// their quota counters may show. The most recently used 100,000 keys, from the primary.
    pub async fn period_totals(
        &self,
        active_since: DateTime<Utc>,
        period_start: DateTime<Utc>,
    ) -> Result<Vec<(TenantId, ApiKeyId, i64)>, Error> {
        let text = "
            select tenant_id, api_key_id, allowed from usage_periods
            where period_start = $1 and last_at >= $2 order by last_at desc limit $3";
        let rows: Vec<(Uuid, Uuid, i64)> = self
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(micros(period_start)).bind(micros(active_since)).bind(MAX_TOTALS).fetch_all(pool).await)
            })
            .await?;
        Ok(rows.into_iter().map(|(tenant, key, allowed)| (TenantId(tenant), ApiKeyId(key), allowed)).collect())
    }

    /// Totals for a key's page; all zero for a key that was never used. May lag.
    pub async fn usage_stats(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        now: DateTime<Utc>,
    ) -> Result<UsageStats, Error> {
        let text = "
            select
                cast(coalesce(sum(requests), 0) as bigint) as total,
                cast(coalesce(sum(requests) filter (where period_start = $3), 0) as bigint) as this_month,
                cast((select coalesce(sum(m.allowed + m.rate_limited + m.quota_exceeded + m.rejected), 0)
                    from usage_minutes m
                    where m.tenant_id = $1 and m.api_key_id = $2 and m.day = $4) as bigint) as today,
                max(last_at) as last_at
            from (
                select period_start, last_at, allowed + rate_limited + quota_exceeded + rejected as requests
                from usage_periods where tenant_id = $1 and api_key_id = $2
            ) periods";
        let row: StatsRow = self
            .read_lagging(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(month_of(now)).bind(day_of(now)).fetch_one(pool).await)
            })
            .await?;
        Ok(UsageStats {
            total_requests: row.total,
            requests_this_month: row.this_month,
            requests_today: row.today,
            last_used_at: row.last_at,
        })
    }

    /// The buckets that start in `from..to` and have data, oldest first; what is not rolled up yet is included. May lag.
    pub async fn usage_series(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        granularity: Granularity,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<(DateTime<Utc>, Counts)>, Error> {
        let text = match granularity {
            Granularity::Hourly => HOURS,
            Granularity::Daily => DAYS,
            Granularity::Monthly => MONTHS,
        };
        let rows: Vec<BucketRow> = self
            .read_lagging(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(micros(from)).bind(micros(to)).bind(day_of(from))
                    .fetch_all(pool).await)
            })
            .await?;
        Ok(rows.into_iter().map(|row| (row.bucket, row.counts.into())).collect())
    }

    /// Endpoints by units admitted since the start of `since_day`, the most used first. May lag.
    pub async fn top_endpoints(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        since_day: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<(String, i64)>, Error> {
        let text = "
            select endpoint, cast(sum(allowed) as bigint) as total from usage_endpoints
            where tenant_id = $1 and api_key_id = $2 and day >= $3
            group by endpoint order by total desc, endpoint limit $4";
        self.read_lagging(|db| async move {
            on!(&db, pool => sqlx::query_as(text)
                .bind(tenant_id.0).bind(id.0).bind(day_of(since_day)).bind(limit).fetch_all(pool).await)
        })
        .await
    }
}

// A day that is due is summed from its minutes; its old sums count only when retention took the minutes they came from.
const HOURS: &str = "
    select bucket, cast(sum(allowed) as bigint) as allowed, cast(sum(rate_limited) as bigint) as rate_limited,
        cast(sum(quota_exceeded) as bigint) as quota_exceeded, cast(sum(rejected) as bigint) as rejected
    from (
        select h.hour as bucket, h.allowed, h.rate_limited, h.quota_exceeded, h.rejected
        from usage_hours h
        join usage_days d on d.tenant_id = h.tenant_id and d.api_key_id = h.api_key_id and d.day = h.day
        where h.tenant_id = $1 and h.api_key_id = $2 and h.hour >= $3 and h.hour < $4
            and (d.minutes_dropped or not exists (select 1 from rollup_due r
                where r.tenant_id = h.tenant_id and r.api_key_id = h.api_key_id and r.day = h.day))
        union all
        select m.hour, m.allowed, m.rate_limited, m.quota_exceeded, m.rejected
        from rollup_due r
        join usage_minutes m on m.tenant_id = r.tenant_id and m.api_key_id = r.api_key_id and m.day = r.day
        where r.tenant_id = $1 and r.api_key_id = $2 and r.day >= $5 and m.hour >= $3 and m.hour < $4
    ) buckets
    group by bucket order by bucket";
const DAYS: &str = "
    select bucket, cast(sum(allowed) as bigint) as allowed, cast(sum(rate_limited) as bigint) as rate_limited,
        cast(sum(quota_exceeded) as bigint) as quota_exceeded, cast(sum(rejected) as bigint) as rejected
    from (
        select d.day as bucket, d.allowed, d.rate_limited, d.quota_exceeded, d.rejected
        from usage_days d
        where d.tenant_id = $1 and d.api_key_id = $2 and d.day >= $3 and d.day < $4
            and (d.minutes_dropped or not exists (select 1 from rollup_due r
                where r.tenant_id = d.tenant_id and r.api_key_id = d.api_key_id and r.day = d.day))
        union all
        select m.day, m.allowed, m.rate_limited, m.quota_exceeded, m.rejected
        from rollup_due r
        join usage_minutes m on m.tenant_id = r.tenant_id and m.api_key_id = r.api_key_id and m.day = r.day
        where r.tenant_id = $1 and r.api_key_id = $2 and r.day >= $5 and r.day >= $3 and r.day < $4
    ) buckets
    group by bucket order by bucket";
/// Periods are always complete. The last condition only uses the bind that the other texts need.
const MONTHS: &str = "
    select period_start as bucket, allowed, rate_limited, quota_exceeded, rejected from usage_periods
    where tenant_id = $1 and api_key_id = $2 and period_start >= $3 and period_start < $4 and period_start >= $5
    order by period_start";

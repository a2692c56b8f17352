//! Sums minutes into hours and days. `rollup_due` says which key and day changed; its row is the lock of that day.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, TenantId};
use uuid::Uuid;

use crate::{Error, Repository, calendar::micros, database::Tx};

/// A key's day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyDay {
    pub(crate) tenant_id: TenantId,
    pub(crate) api_key_id: ApiKeyId,
    pub(crate) day: DateTime<Utc>,
}

impl From<(Uuid, Uuid, DateTime<Utc>)> for KeyDay {
    fn from((tenant_id, api_key_id, day): (Uuid, Uuid, DateTime<Utc>)) -> Self {
        Self { tenant_id: TenantId(tenant_id), api_key_id: ApiKeyId(api_key_id), day }
    }
}

impl Repository {
    /// Rolls up at most `limit` due days that start before `before`, the oldest first, of all tenants; how many it did.
    /// Each day in its own transaction; a day that another worker took meanwhile is left to it.
    pub async fn rollup(&self, before: DateTime<Utc>, limit: i64) -> Result<u64, Error> {
        let text = "
            select tenant_id, api_key_id, day from rollup_due where day < $1
            order by day, tenant_id, api_key_id limit $2";
        let due: Vec<(Uuid, Uuid, DateTime<Utc>)> = self
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text).bind(micros(before)).bind(limit).fetch_all(pool).await)
            })
            .await?;
        let mut done = 0;
        for day in due.into_iter().map(KeyDay::from) {
            done += u64::from(self.write(|| self.rollup_day(day)).await?);
        }
        Ok(done)
    }

    /// False when the day is not due any more.
    async fn rollup_day(&self, day: KeyDay) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        // First, because it waits for whoever is adding to the day; what is read afterwards includes their rows.
        if !unmark(&mut tx, day).await? {
            return Ok(false);
        }
        if minutes_dropped(&mut tx, day).await? {
            execute(&mut tx, ADD_HOURS, day).await?;
            execute(&mut tx, ADD_DAY, day).await?;
            execute(&mut tx, DELETE_MINUTES, day).await?;
        } else {
            execute(&mut tx, REPLACE_HOURS, day).await?;
            execute(&mut tx, REPLACE_DAY, day).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Takes the due mark away; false when there was none.
pub(crate) async fn unmark(tx: &mut Tx, day: KeyDay) -> Result<bool, Error> {
    Ok(execute(tx, "delete from rollup_due where tenant_id = $1 and api_key_id = $2 and day = $3", day).await? > 0)
}

/// Runs a text whose binds are the day's tenant, key and start; how many rows it wrote.
pub(crate) async fn execute(tx: &mut Tx, text: &'static str, day: KeyDay) -> Result<u64, Error> {
    Ok(on!(tx, t => sqlx::query(text)
        .bind(day.tenant_id.0).bind(day.api_key_id.0).bind(day.day).execute(&mut **t).await?.rows_affected()))
}

async fn minutes_dropped(tx: &mut Tx, day: KeyDay) -> Result<bool, Error> {
    let text = "select minutes_dropped from usage_days where tenant_id = $1 and api_key_id = $2 and day = $3";
    let dropped: Option<bool> = on!(tx, t => sqlx::query_scalar(text)
        .bind(day.tenant_id.0).bind(day.api_key_id.0).bind(day.day).fetch_optional(&mut **t).await)?;
    Ok(dropped.unwrap_or(false))
}

pub(crate) const DELETE_MINUTES: &str =
    "delete from usage_minutes where tenant_id = $1 and api_key_id = $2 and day = $3";

macro_rules! sum_hours {
    () => {
        "insert into usage_hours (tenant_id, api_key_id, hour, day, allowed, rate_limited, quota_exceeded, rejected)
         select tenant_id, api_key_id, hour, day, cast(sum(allowed) as bigint), cast(sum(rate_limited) as bigint),
            cast(sum(quota_exceeded) as bigint), cast(sum(rejected) as bigint)
         from usage_minutes where tenant_id = $1 and api_key_id = $2 and day = $3
         group by tenant_id, api_key_id, hour, day
         on conflict (tenant_id, api_key_id, hour) do update set "
    };
}
macro_rules! sum_day {
    () => {
        "insert into usage_days
            (tenant_id, api_key_id, day, allowed, rate_limited, quota_exceeded, rejected, minutes_dropped)
         select tenant_id, api_key_id, day, cast(sum(allowed) as bigint), cast(sum(rate_limited) as bigint),
            cast(sum(quota_exceeded) as bigint), cast(sum(rejected) as bigint), false
         from usage_minutes where tenant_id = $1 and api_key_id = $2 and day = $3
         group by tenant_id, api_key_id, day
         on conflict (tenant_id, api_key_id, day) do update set "
    };
}
macro_rules! replace {
    () => {
        "allowed = excluded.allowed, rate_limited = excluded.rate_limited,
         quota_exceeded = excluded.quota_exceeded, rejected = excluded.rejected"
    };
}

const REPLACE_HOURS: &str = concat!(sum_hours!(), replace!());
const REPLACE_DAY: &str = concat!(sum_day!(), replace!());
const ADD_HOURS: &str = concat!(
    sum_hours!(),
    "allowed = usage_hours.allowed + excluded.allowed,
     rate_limited = usage_hours.rate_limited + excluded.rate_limited,
     quota_exceeded = usage_hours.quota_exceeded + excluded.quota_exceeded,
     rejected = usage_hours.rejected + excluded.rejected"
);
const ADD_DAY: &str = concat!(
    sum_day!(),
    "allowed = usage_days.allowed + excluded.allowed,
     rate_limited = usage_days.rate_limited + excluded.rate_limited,
     quota_exceeded = usage_days.quota_exceeded + excluded.quota_exceeded,
     rejected = usage_days.rejected + excluded.rejected"
);

//! Deletes what is older than its retention, of all tenants, in transactions of bounded size.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Error, Repository,
    calendar::{day_of, micros},
    rollups::{DELETE_MINUTES, KeyDay, execute, unmark},
};

/// Before when each kind of row may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Usage per minute; only whole days that are rolled up. Hours, days and periods stay.
    pub minutes: DateTime<Utc>,
    /// Violations, by their minute.
    pub violations: DateTime<Utc>,
    /// Stored answers, by when their request began.
    pub idempotency: DateTime<Utc>,
    /// Secrets whose grace ended.
    pub secrets: DateTime<Utc>,
    /// Ids of usage events, by when they happened; a repeat sent later than this counts again.
    pub events: DateTime<Utc>,
    /// Usage per endpoint, by its day.
    pub endpoints: DateTime<Utc>,
}

/// Rows per transaction: short enough that nobody waits long for their locks, or for SQLite's only writer.
const ROWS: i64 = 1_000;
/// Days of keys per transaction, at most 1,440 minutes each.
const DAYS: i64 = 20;

const VIOLATIONS: &str = "
    delete from violations where (tenant_id, api_key_id, minute, limit_name, endpoint) in
        (select tenant_id, api_key_id, minute, limit_name, endpoint from violations where minute < $1 limit $2)";
const IDEMPOTENCY: &str = "
    delete from idempotency_keys where (tenant_id, actor, key) in
        (select tenant_id, actor, key from idempotency_keys where started_at < $1 limit $2)";
const SECRETS: &str = "
    delete from api_key_secrets where hash in (select hash from api_key_secrets where expires_at < $1 limit $2)";
const EVENTS: &str = "
    delete from usage_events where (tenant_id, id) in (select tenant_id, id from usage_events where at < $1 limit $2)";
const ENDPOINTS: &str = "
    delete from usage_endpoints where (tenant_id, api_key_id, day, endpoint) in
        (select tenant_id, api_key_id, day, endpoint from usage_endpoints where day < $1 limit $2)";

impl Repository {
    /// How many rows it deleted. May be stopped and run again at any point.
    pub async fn clean_up(&self, cutoffs: &Retention) -> Result<u64, Error> {
        let mut deleted = self.clean_up_minutes(day_of(cutoffs.minutes)).await?;
        deleted += self.delete_before(VIOLATIONS, cutoffs.violations).await?;
        deleted += self.delete_before(IDEMPOTENCY, cutoffs.idempotency).await?;
        deleted += self.delete_before(SECRETS, cutoffs.secrets).await?;
        deleted += self.delete_before(EVENTS, cutoffs.events).await?;
        deleted += self.delete_before(ENDPOINTS, day_of(cutoffs.endpoints)).await?;
        Ok(deleted)
    }

    async fn delete_before(&self, text: &'static str, cutoff: DateTime<Utc>) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let deleted = self
                .write(|| async {
                    let mut tx = self.begin().await?;
                    let deleted = on!(&mut tx, t => sqlx::query(text)
                        .bind(micros(cutoff)).bind(ROWS).execute(&mut **t).await?.rows_affected());
                    tx.commit().await?;
                    Ok(deleted)
                })
                .await?;
            total += deleted;
            if deleted == 0 {
                return Ok(total);
            }
        }
    }

    /// Every day with minutes is due or has its sum in `usage_days`, so the latter leads to all that may go.
    async fn clean_up_minutes(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        let text = "
            select d.tenant_id, d.api_key_id, d.day from usage_days d
            where not d.minutes_dropped and d.day < $1 and not exists (select 1 from rollup_due r
                where r.tenant_id = d.tenant_id and r.api_key_id = d.api_key_id and r.day = d.day)
            order by d.day limit $2";
        let mut total = 0;
        loop {
            let days: Vec<(Uuid, Uuid, DateTime<Utc>)> = self
                .read(|db| async move {
                    on!(&db, pool => sqlx::query_as(text).bind(before).bind(DAYS).fetch_all(pool).await)
                })
                .await?;
            if days.is_empty() {
                return Ok(total);
            }
            let mut days: Vec<_> = days.into_iter().map(KeyDay::from).collect();
            days.sort_unstable();
            total += self.write(|| self.drop_minutes(&days)).await?;
        }
    }

    /// Deletes the days' minutes but for days that became due meanwhile; how many rows.
    async fn drop_minutes(&self, days: &[KeyDay]) -> Result<u64, Error> {
        let lock = "
            insert into rollup_due (tenant_id, api_key_id, day) values ($1, $2, $3)
            on conflict (tenant_id, api_key_id, day) do nothing";
        let mark = "
            update usage_days set minutes_dropped = true where tenant_id = $1 and api_key_id = $2 and day = $3";
        let mut tx = self.begin().await?;
        let mut deleted = 0;
        for day in days {
            // A mark of our own keeps writers out; one that is there says that there are minutes to be summed first.
            if execute(&mut tx, lock, *day).await? == 0 {
                continue;
            }
            deleted += execute(&mut tx, DELETE_MINUTES, *day).await?;
            execute(&mut tx, mark, *day).await?;
            unmark(&mut tx, *day).await?;
        }
        tx.commit().await?;
        Ok(deleted)
    }
}

//! Deletes rows that are older than their retention, of all tenants, in transactions of bounded size.

use chrono::{DateTime, Utc};
use tollgate_domain::period::day_of;

use crate::{Error, Repository, core::time::micros};

/// Rows of each kind before these times may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Usage per minute, by whole days. Hours, days and periods are kept.
    pub minutes: DateTime<Utc>,
    /// Violations, by their minute.
    pub violations: DateTime<Utc>,
    /// Stored answers, by the start of their request.
    pub idempotency: DateTime<Utc>,
    /// Secrets, by the end of their grace.
    pub secrets: DateTime<Utc>,
    /// Ids of usage events, by the event's time. A repeat that is sent later than this counts again.
    pub events: DateTime<Utc>,
    /// Usage per endpoint, by its day.
    pub endpoints: DateTime<Utc>,
}

/// Rows per transaction: few enough that nobody waits long for their locks, or for SQLite's only writer.
const ROWS: i64 = 1_000;

const MINUTES: &str = "
    delete from usage_minutes where (minute, tenant_id, api_key_id) in
        (select minute, tenant_id, api_key_id from usage_minutes where minute < $1 limit $2)";
const VIOLATIONS: &str = "
    delete from violations where (tenant_id, api_key_id, minute, limit_name, endpoint) in
        (select tenant_id, api_key_id, minute, limit_name, endpoint from violations where minute < $1 limit $2)";
const IDEMPOTENCY: &str = "
    delete from idempotency_keys where (tenant_id, actor, key) in
        (select tenant_id, actor, key from idempotency_keys where started_at < $1 limit $2)";
const SECRETS: &str = "
    delete from api_key_secrets where hash in (select hash from api_key_secrets where expires_at < $1 limit $2)";
const TOKEN_SECRETS: &str = "
    delete from former_token_secrets where hash in
        (select hash from former_token_secrets where expires_at < $1 limit $2)";
const EVENTS: &str = "
    delete from usage_events where (tenant_id, source, id) in
        (select tenant_id, source, id from usage_events where at < $1 limit $2)";
const ENDPOINTS: &str = "
    delete from usage_endpoints where (tenant_id, api_key_id, day, endpoint) in
        (select tenant_id, api_key_id, day, endpoint from usage_endpoints where day < $1 limit $2)";

impl Repository {
    /// Returns the number of deleted rows. It may be stopped and run again at any point.
    pub async fn clean_up(&self, cutoffs: &Retention) -> Result<u64, Error> {
        let mut deleted = self.delete_before(MINUTES, day_of(cutoffs.minutes)).await?;
        deleted += self.delete_before(VIOLATIONS, cutoffs.violations).await?;
        deleted += self.delete_before(IDEMPOTENCY, cutoffs.idempotency).await?;
        deleted += self.delete_before(SECRETS, cutoffs.secrets).await?;
        deleted += self.delete_before(TOKEN_SECRETS, cutoffs.secrets).await?;
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
}

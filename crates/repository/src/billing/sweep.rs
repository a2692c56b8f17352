//! What time alone changes.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, TenantId};
use uuid::Uuid;

use super::Billing;
use crate::{Error, core::time::micros};

/// Records that become overdue in one transaction.
const CHUNK: i64 = 500;

impl Billing<'_> {
    /// Gives accounts that are done, but have late usage that is owed, the period to close next. Returns how many.
    pub async fn reopen(self, period_start: DateTime<Utc>) -> Result<u64, Error> {
        let text = "
            update billing_accounts set next_period = $1
            where next_period is null and exists (select 1 from billing_due d
                where d.tenant_id = billing_accounts.tenant_id and d.api_key_id = billing_accounts.api_key_id
                    and not d.waived)";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let reopened = on!(&mut tx, t =>
                    sqlx::query(text).bind(period_start).execute(&mut **t).await?.rows_affected());
                tx.commit().await?;
                Ok(reopened)
            })
            .await
    }

    /// Lets accounts that have no record yet begin with an earlier period, for usage that is brought from elsewhere. Call
    /// it before the usage is stored, which would be late otherwise.
    pub async fn begin_with(self, keys: &[(TenantId, ApiKeyId)], period_start: DateTime<Utc>) -> Result<(), Error> {
        let text = "
            update billing_accounts set next_period = $3
            where tenant_id = $1 and api_key_id = $2 and next_period > $3 and not exists (select 1 from billing_records r
                where r.tenant_id = $1 and r.api_key_id = $2)";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                for (tenant, key) in keys {
                    on!(&mut tx, t => sqlx::query(text)
                        .bind(tenant.0).bind(key.0).bind(period_start).execute(&mut **t).await.map(|_| ()))?;
                }
                tx.commit().await
            })
            .await
    }

    /// Marks what should have been paid before `now`. Returns how many records; call again until it is 0.
    pub async fn mark_overdue(self, now: DateTime<Utc>) -> Result<usize, Error> {
        let text = "
            update billing_records set payment_status = 'overdue', version = version + 1
            where (payment_status = 'pending' or payment_status = 'failed') and (tenant_id, id) in (
                select tenant_id, id from billing_records
                where due_at <= $1 and (payment_status = 'pending' or payment_status = 'failed') order by due_at limit $2)
            returning tenant_id, id, amount_paid";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let rows: Vec<(Uuid, Uuid, i64)> = on!(&mut tx, t =>
                    sqlx::query_as(text).bind(micros(now)).bind(CHUNK).fetch_all(&mut **t).await?);
                for (tenant, record, paid) in &rows {
                    super::payment::log(&mut tx, *tenant, *record, now, "overdue", *paid, None).await?;
                }
                tx.commit().await?;
                Ok(rows.len())
            })
            .await
    }
}

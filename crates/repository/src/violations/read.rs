//! Refusals per key, limit, endpoint and minute: records them, and reads them newest first.

use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;
use tollgate_domain::{
    ApiKeyId, JournalStream, TenantId, ViolationCursor,
    usage::{ViolationBatch, ViolationRow},
};
use uuid::Uuid;

use super::Violations;
use crate::{Applied, Error, core::time::micros, usage::cursors, violations::upsert};

#[derive(sqlx::FromRow)]
struct StoredRow {
    tenant_id: Uuid,
    api_key_id: Uuid,
    minute: DateTime<Utc>,
    limit_name: String,
    endpoint: String,
    ip_address: String,
    count: i64,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

impl From<StoredRow> for ViolationRow {
    fn from(row: StoredRow) -> Self {
        Self {
            tenant_id: TenantId(row.tenant_id),
            api_key_id: ApiKeyId(row.api_key_id),
            limit_name: row.limit_name,
            endpoint: row.endpoint,
            minute: row.minute,
            ip_address: row.ip_address,
            count: row.count,
            first_at: row.first_at,
            last_at: row.last_at,
        }
    }
}

impl Violations<'_> {
    /// As [`crate::Usage::apply`], for the journal's other stream.
    pub async fn record(self, batch: &ViolationBatch) -> Result<Applied, Error> {
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let applied = cursors::advance(&mut tx, &batch.span, JournalStream::Violations, 0).await?;
                if applied == Applied::Moved {
                    upsert::add(&mut tx, &batch.rows).await?;
                    tx.commit().await?;
                }
                Ok(applied)
            })
            .await
    }

    /// Rows whose last refusal is at or after `since`, newest first, at most `limit`. Pass the cursor of a page's last
    /// row as `before` to get the next page. A row that grows between two pages moves to the front. May lag.
    pub async fn list(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        since: DateTime<Utc>,
        before: Option<&ViolationCursor>,
        limit: i64,
    ) -> Result<Vec<ViolationRow>, Error> {
        let rows: Vec<StoredRow> = self.0.read_lagging(|db| async move {
                on!(&db, pool => {
                    let mut query = QueryBuilder::new(
                        "select tenant_id, api_key_id, minute, limit_name, endpoint, ip_address, count, first_at, last_at
                         from violations where tenant_id = ",
                    );
                    query.push_bind(tenant_id.0).push(" and api_key_id = ").push_bind(id.0);
                    query.push(" and last_at >= ").push_bind(micros(since));
                    if let Some(cursor) = before {
                        query.push(" and (last_at, minute, limit_name, endpoint) < (").push_bind(cursor.last_at);
                        query.push(", ").push_bind(cursor.minute).push(", ").push_bind(cursor.limit_name.clone());
                        query.push(", ").push_bind(cursor.endpoint.clone()).push(")");
                    }
                    query.push(" order by last_at desc, minute desc, limit_name desc, endpoint desc limit ");
                    query.push_bind(limit).build_query_as().fetch_all(pool).await
                })
            })
            .await?;
        Ok(rows.into_iter().map(ViolationRow::from).collect())
    }

    /// Number of refusals in rows whose last one is at or after `since`. May lag.
    pub async fn count(self, tenant_id: TenantId, id: ApiKeyId, since: DateTime<Utc>) -> Result<i64, Error> {
        let text = "
            select cast(coalesce(sum(count), 0) as bigint) from violations
            where tenant_id = $1 and api_key_id = $2 and last_at >= $3";
        self.0
            .read_lagging(|db| async move {
                on!(&db, pool => sqlx::query_scalar(text)
                .bind(tenant_id.0).bind(id.0).bind(micros(since)).fetch_one(pool).await)
            })
            .await
    }
}

//! Answers to writes with an `Idempotency-Key`, so that a repeat gets the first answer.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{Idempotency, StoredResponse, TenantId};

use super::IdempotencyKeys;
use crate::{
    Error,
    core::{database::Tx, json, time::micros},
};

#[derive(sqlx::FromRow)]
struct AttemptRow {
    fingerprint: Vec<u8>,
    started_at: DateTime<Utc>,
    status: Option<i32>,
    content_type: Option<String>,
    headers: Option<Json<Value>>,
    body: Option<Vec<u8>>,
}

impl IdempotencyKeys<'_> {
    /// Claims `key` for one request of `actor`. Takes over an unfinished attempt that began before `stale_before` (its
    /// process died), and ignores any attempt that began before `expired_before`.
    #[expect(clippy::too_many_arguments, reason = "two identities, one request and its two limits of age")]
    pub async fn begin(
        self,
        tenant_id: TenantId,
        actor: &str,
        key: &str,
        fingerprint: &[u8; 32],
        now: DateTime<Utc>,
        stale_before: DateTime<Utc>,
        expired_before: DateTime<Utc>,
    ) -> Result<Idempotency, Error> {
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let found = claim(&mut tx, tenant_id, actor, key, fingerprint, now).await?;
                let Some(row) = found else {
                    tx.commit().await?;
                    return Ok(Idempotency::Started);
                };
                let abandoned = row.status.is_none() && row.started_at < stale_before;
                if row.started_at >= expired_before {
                    if row.fingerprint != fingerprint {
                        return Ok(Idempotency::Mismatch);
                    }
                    if !abandoned {
                        return replay(row);
                    }
                }
                take_over(&mut tx, tenant_id, actor, key, fingerprint, now).await?;
                tx.commit().await?;
                Ok(Idempotency::Started)
            })
            .await
    }

    /// Stores the answer for repeats. Changes nothing when the attempt is finished or forgotten.
    pub async fn finish(
        self,
        tenant_id: TenantId,
        actor: &str,
        key: &str,
        response: &StoredResponse,
    ) -> Result<(), Error> {
        let headers = &json::items(&response.headers)?;
        let text = "
            update idempotency_keys set status = $4, content_type = $5, headers = $6, body = $7
            where tenant_id = $1 and actor = $2 and key = $3 and status is null";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                on!(&mut tx, t => sqlx::query(text)
                .bind(tenant_id.0).bind(actor).bind(key)
                .bind(response.status).bind(&response.content_type).bind(headers).bind(&response.body)
                .execute(&mut **t).await.map(|_| ()))?;
                tx.commit().await
            })
            .await
    }

    /// Removes an attempt that failed, so that a repeat may try again. A finished one stays.
    pub async fn forget(self, tenant_id: TenantId, actor: &str, key: &str) -> Result<(), Error> {
        let text = "
            delete from idempotency_keys where tenant_id = $1 and actor = $2 and key = $3 and status is null";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                on!(&mut tx, t => sqlx::query(text)
                .bind(tenant_id.0).bind(actor).bind(key).execute(&mut **t).await.map(|_| ()))?;
                tx.commit().await
            })
            .await
    }
}

/// Inserts the attempt, or returns the existing one. Both lock the row, because an existing one
/// is updated with its own values.
async fn claim(
    tx: &mut Tx,
    tenant_id: TenantId,
    actor: &str,
    key: &str,
    fingerprint: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<AttemptRow>, Error> {
    let insert = "
        insert into idempotency_keys
            (tenant_id, actor, key, fingerprint, started_at, status, content_type, headers, body)
        values ($1, $2, $3, $4, $5, null, null, null, null)
        on conflict (tenant_id, actor, key) do nothing";
    let lock = "
        update idempotency_keys set started_at = started_at where tenant_id = $1 and actor = $2 and key = $3
        returning fingerprint, started_at, status, content_type, headers, body";
    let inserted = on!(&mut *tx, t => sqlx::query(insert)
        .bind(tenant_id.0).bind(actor).bind(key).bind(fingerprint.as_slice()).bind(micros(now))
        .execute(&mut **t).await?.rows_affected());
    if inserted > 0 {
        return Ok(None);
    }
    let found: Option<AttemptRow> = on!(&mut *tx, t =>
        sqlx::query_as(lock).bind(tenant_id.0).bind(actor).bind(key).fetch_optional(&mut **t).await)?;
    // Forgotten between the two statements. Treated as a running attempt, so that the client repeats.
    Ok(Some(found.unwrap_or(AttemptRow {
        fingerprint: fingerprint.to_vec(),
        started_at: now,
        status: None,
        content_type: None,
        headers: None,
        body: None,
    })))
}

async fn take_over(
    tx: &mut Tx,
    tenant_id: TenantId,
    actor: &str,
    key: &str,
    fingerprint: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let text = "
        update idempotency_keys
        set fingerprint = $4, started_at = $5, status = null, content_type = null, headers = null, body = null
        where tenant_id = $1 and actor = $2 and key = $3";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(actor).bind(key).bind(fingerprint.as_slice()).bind(micros(now))
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

fn replay(row: AttemptRow) -> Result<Idempotency, Error> {
    let Some(status) = row.status else { return Ok(Idempotency::InProgress) };
    let headers = row.headers.map(|h| json::read_items(h, "idempotency_keys.headers")).transpose()?;
    Ok(Idempotency::Replay(StoredResponse {
        status,
        content_type: row.content_type,
        headers: headers.unwrap_or_default(),
        body: row.body.unwrap_or_default(),
    }))
}

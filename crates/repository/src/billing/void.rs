//! Taking a record back.

use chrono::{DateTime, Utc};
use tollgate_domain::{RecordId, TenantId, billing::Record};

use super::{Billing, CloseTerms, accounts, close, rows};
use crate::{
    Error,
    core::{database::Tx, time::micros},
};

/// What follows a record that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voided {
    /// The record that does not count any more.
    pub record: Record,
    /// The one in its place.
    pub replacement: Option<RecordId>,
}

impl Billing<'_> {
    /// Takes a closed record back, if `check` agrees to it as it stands; its credits can be used again. With `rebill`, the
    /// period is closed again with the present figures, in the same transaction; without, nothing is owed for it, whatever
    /// comes late. A record that is void already stays as it is. None when there is none.
    pub async fn void<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: RecordId,
        reason: &str,
        rebill: Option<CloseTerms>,
        now: DateTime<Utc>,
        check: impl Fn(&Record) -> Result<bool, E>,
    ) -> Result<Option<Voided>, E> {
        let voided = self.0.write(|| async {
            let mut tx = self.0.begin().await?;
            let Some(found) = rows::get(&mut tx, tenant_id, id).await? else { return Ok(Ok(None)) };
            let key = (tenant_id, found.api_key_id);
            // Before the record, as a closing does.
            accounts::hold(&mut tx, &[key]).await?;
            let Some(record) = rows::locked(&mut tx, tenant_id, id).await? else { return Ok(Ok(None)) };
            match check(&record) {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(Some(Voided { record, replacement: None }))),
                Err(refused) => return Ok(Err(refused)),
            }
            end(&mut tx, tenant_id, &record, reason, now).await?;
            let replacement = match rebill {
                Some(terms) => {
                    let replacement = close::again(&mut tx, key, &record, terms).await?;
                    mark_corrected(&mut tx, tenant_id, &record, replacement).await?;
                    replacement
                }
                None => {
                    waive(&mut tx, tenant_id, &record).await?;
                    None
                }
            };
            let record = rows::get(&mut tx, tenant_id, id).await?.ok_or(Error::Conflict)?;
            tx.commit().await?;
            Ok(Ok(Some(Voided { record, replacement })))
        });
        voided.await?
    }
}

async fn end(tx: &mut Tx, tenant_id: TenantId, record: &Record, reason: &str, now: DateTime<Utc>) -> Result<(), Error> {
    let void = "
        update billing_records set status = 'void', payment_status = null, voided_at = $3, void_reason = $4,
            version = version + 1
        where tenant_id = $1 and id = $2";
    let give_back = "
        update credit_applications set returned_at = $3 where tenant_id = $1 and record_id = $2 and returned_at is null";
    // What corrections left over became a grant of the record's id.
    let left_over = "
        update credit_grants set voided_at = $3, version = version + 1
        where tenant_id = $1 and id = $2 and voided_at is null";
    on!(tx, t => {
        sqlx::query(left_over).bind(tenant_id.0).bind(record.id.0).bind(micros(now)).execute(&mut **t).await?;
        sqlx::query(void).bind(tenant_id.0).bind(record.id.0).bind(micros(now)).bind(reason).execute(&mut **t).await?;
        sqlx::query(give_back).bind(tenant_id.0).bind(record.id.0).bind(micros(now)).execute(&mut **t).await?;
        Ok(())
    })
}

/// The record in place of the void one bills the whole period. Where later records have corrected it already, the next one
/// takes that off.
async fn mark_corrected(
    tx: &mut Tx,
    tenant_id: TenantId,
    record: &Record,
    replacement: Option<RecordId>,
) -> Result<(), Error> {
    let text = "
        insert into billing_due (tenant_id, api_key_id, period_start, waived)
        select $1, $2, $3, $4 where exists (
            select 1 from billing_records r join billing_units u on u.tenant_id = r.tenant_id and u.record_id = r.id
            where r.tenant_id = $1 and r.api_key_id = $2 and r.status <> 'void' and r.id <> $5 and u.period_start = $3)
        on conflict (tenant_id, api_key_id, period_start) do nothing";
    let replacement = replacement.map_or(record.id.0, |id| id.0);
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(record.api_key_id.0).bind(record.period.start).bind(false).bind(replacement)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// Nothing more is owed for the period. What the record corrected of earlier ones is owed with the next.
async fn waive(tx: &mut Tx, tenant_id: TenantId, record: &Record) -> Result<(), Error> {
    let again = "
        insert into billing_due (tenant_id, api_key_id, period_start, waived) values ($1, $2, $3, $4)
        on conflict (tenant_id, api_key_id, period_start) do nothing";
    for start in close::corrected_by(tx, tenant_id, record).await? {
        on!(&mut *tx, t => sqlx::query(again)
            .bind(tenant_id.0).bind(record.api_key_id.0).bind(start).bind(false)
            .execute(&mut **t).await.map(|_| ()))?;
    }
    let text = "
        insert into billing_due (tenant_id, api_key_id, period_start, waived) values ($1, $2, $3, $4)
        on conflict (tenant_id, api_key_id, period_start) do update set waived = excluded.waived";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(record.api_key_id.0).bind(record.period.start).bind(true)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

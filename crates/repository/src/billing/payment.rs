//! What was paid of a record.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    Money, RecordId, TenantId,
    billing::{PaymentStatus, Record},
};
use uuid::Uuid;

use super::{Billing, rows};
use crate::{
    Error,
    core::{database::Tx, time::micros},
};

/// A change of a record's payment.
#[derive(Clone, Debug)]
pub struct Payment {
    /// What it is now.
    pub status: PaymentStatus,
    /// What was paid in all.
    pub amount_paid: Money,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// The payer's or the provider's own name for it.
    pub reference: Option<String>,
}

impl Billing<'_> {
    /// Changes the payment of a closed record. `change` gets the record as it stands, and says what becomes of it: `None`
    /// changes nothing. None when there is no such record.
    pub async fn change_payment<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: RecordId,
        now: DateTime<Utc>,
        change: impl Fn(&Record) -> Result<Option<Payment>, E>,
    ) -> Result<Option<Record>, E> {
        let text = "
            update billing_records set payment_status = $3, amount_paid = $4, paid_at = $5, version = version + 1
            where tenant_id = $1 and id = $2 and version = $6";
        let changed = self.0.write(|| async {
            let mut tx = self.0.begin().await?;
            let Some(record) = rows::locked(&mut tx, tenant_id, id).await? else { return Ok(Ok(None)) };
            let payment = match change(&record) {
                Ok(Some(payment)) => payment,
                Ok(None) => return Ok(Ok(Some(record))),
                Err(refused) => return Ok(Err(refused)),
            };
            on!(&mut tx, t => sqlx::query(text)
                .bind(tenant_id.0).bind(id.0).bind(payment.status.as_str()).bind(payment.amount_paid.0)
                .bind(payment.paid_at.map(micros)).bind(record.version).execute(&mut **t).await.map(|_| ()))?;
            let (status, reference) = (payment.status.as_str(), payment.reference.as_deref());
            log(&mut tx, tenant_id.0, id.0, now, status, payment.amount_paid.0, reference).await?;
            let stored = rows::get(&mut tx, tenant_id, id).await?;
            tx.commit().await?;
            Ok(Ok(stored))
        });
        changed.await?
    }
}

/// Adds to the history of a record whose row this transaction holds.
pub(super) async fn log(
    tx: &mut Tx,
    tenant: Uuid,
    record: Uuid,
    at: DateTime<Utc>,
    status: &str,
    amount_paid: i64,
    reference: Option<&str>,
) -> Result<(), Error> {
    let text = "
        insert into payment_events (tenant_id, record_id, seq, at, payment_status, amount_paid, reference)
        select $1, $2, coalesce(max(seq), 0) + 1, $3, $4, $5, $6 from payment_events where tenant_id = $1 and record_id = $2";
    on!(tx, t => sqlx::query(text)
        .bind(tenant).bind(record).bind(micros(at)).bind(status).bind(amount_paid).bind(reference)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

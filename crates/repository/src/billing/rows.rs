//! Records and lines as they are stored.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Environment, Money, PriceId, RecordId, TenantId,
    billing::{LineSegment, PaymentStatus, Record, RecordLine, RecordStatus},
    price::LineKind,
};
use uuid::Uuid;

use crate::{Error, core::database::Tx};

/// The columns of [`RecordRow`], of a table `r`.
macro_rules! record_columns {
    () => {
        "r.id, r.number, r.api_key_id, r.api_key_name, r.owner_id, r.environment, r.tier, r.period_start, r.revision,
         r.currency, r.units, r.overage_units, r.subtotal, r.credits_applied, r.total, r.rounding, r.amount_due,
         r.amount_due_minor, r.complete, r.holder_hash, r.digest, r.closed_at, r.due_at, r.status, r.payment_status,
         r.amount_paid, r.paid_at, r.voided_at, r.void_reason, r.version"
    };
}
pub(super) use record_columns;

/// The columns of [`LineRow`], of a table `l`.
macro_rules! line_columns {
    () => {
        "l.position, l.kind, l.price_id, l.tier_name, l.tier, l.segment_start, l.segment_end, l.share, l.period_start,
         l.quantity, l.unit_amount, l.amount, l.corrects_record_id"
    };
}
pub(super) use line_columns;

#[derive(sqlx::FromRow)]
pub(super) struct RecordRow {
    id: Uuid,
    number: String,
    api_key_id: Uuid,
    api_key_name: String,
    owner_id: Option<String>,
    environment: String,
    tier: String,
    period_start: DateTime<Utc>,
    revision: i32,
    currency: String,
    units: i64,
    overage_units: i64,
    subtotal: i64,
    credits_applied: i64,
    total: i64,
    rounding: i64,
    amount_due: i64,
    amount_due_minor: i64,
    complete: bool,
    holder_hash: Vec<u8>,
    digest: Vec<u8>,
    closed_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    status: String,
    payment_status: Option<String>,
    amount_paid: i64,
    paid_at: Option<DateTime<Utc>>,
    voided_at: Option<DateTime<Utc>>,
    void_reason: Option<String>,
    version: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct LineRow {
    position: i32,
    kind: String,
    price_id: Option<Uuid>,
    tier_name: Option<String>,
    tier: Option<i32>,
    segment_start: Option<DateTime<Utc>>,
    segment_end: Option<DateTime<Utc>>,
    share: Option<String>,
    #[sqlx(rename = "period_start")]
    line_period: DateTime<Utc>,
    quantity: i64,
    unit_amount: Option<String>,
    amount: i64,
    corrects_record_id: Option<Uuid>,
}

fn corrupt(column: &str) -> Error {
    Error::Corrupt(format!("billing_{column}"))
}

impl TryFrom<RecordRow> for Record {
    type Error = Error;

    fn try_from(row: RecordRow) -> Result<Self, Error> {
        let hash = |bytes: Vec<u8>, column| bytes.try_into().map_err(|_| corrupt(column));
        let count = |units: i64, column| u64::try_from(units).map_err(|_| corrupt(column));
        let environment = Environment::ALL.into_iter().find(|known| known.as_str() == row.environment);
        let status = [RecordStatus::Closed, RecordStatus::Void].into_iter().find(|known| known.as_str() == row.status);
        let payment = match row.payment_status {
            Some(stored) => {
                let known = PaymentStatus::ALL.into_iter().find(|known| known.as_str() == stored);
                Some(known.ok_or_else(|| corrupt("records.payment_status"))?)
            }
            None => None,
        };
        Ok(Self {
            id: RecordId(row.id),
            number: row.number,
            api_key_id: ApiKeyId(row.api_key_id),
            api_key_name: row.api_key_name,
            owner_id: row.owner_id,
            environment: environment.ok_or_else(|| corrupt("records.environment"))?,
            tier: row.tier,
            revision: u32::try_from(row.revision).map_err(|_| corrupt("records.revision"))?,
            status: status.ok_or_else(|| corrupt("records.status"))?,
            payment_status: payment,
            currency: row.currency.parse().map_err(|_| corrupt("records.currency"))?,
            period: BillingPeriod::containing(row.period_start),
            units: count(row.units, "records.units")?,
            overage_units: count(row.overage_units, "records.overage_units")?,
            subtotal: Money(row.subtotal),
            credits_applied: Money(row.credits_applied),
            total: Money(row.total),
            rounding: Money(row.rounding),
            amount_due: Money(row.amount_due),
            amount_due_minor: row.amount_due_minor,
            amount_paid: Money(row.amount_paid),
            complete: row.complete,
            closed_at: Some(row.closed_at),
            due_at: Some(row.due_at),
            paid_at: row.paid_at,
            voided_at: row.voided_at,
            void_reason: row.void_reason,
            holder_hash: hash(row.holder_hash, "records.holder_hash")?,
            digest: hash(row.digest, "records.digest")?,
            version: row.version,
        })
    }
}

impl TryFrom<LineRow> for RecordLine {
    type Error = Error;

    fn try_from(row: LineRow) -> Result<Self, Error> {
        let number = |value: i32, column| u32::try_from(value).map_err(|_| corrupt(column));
        let kind = LineKind::ALL.into_iter().find(|known| known.as_str() == row.kind);
        let segment = match (row.segment_start, row.segment_end, row.share) {
            (Some(start), Some(end), Some(share)) => Some(LineSegment { start, end, share }),
            _ => None,
        };
        let unit = row.unit_amount.map(|text| text.parse().map_err(|_| corrupt("lines.unit_amount")));
        Ok(Self {
            position: number(row.position, "lines.position")?,
            kind: kind.ok_or_else(|| corrupt("lines.kind"))?,
            price_id: row.price_id.map(PriceId),
            tier_name: row.tier_name,
            tier: row.tier.map(|tier| number(tier, "lines.tier")).transpose()?,
            segment,
            period: BillingPeriod::containing(row.line_period),
            quantity: u64::try_from(row.quantity).map_err(|_| corrupt("lines.quantity"))?,
            unit_amount: unit.transpose()?,
            amount: Money(row.amount),
            corrects_record_id: row.corrects_record_id.map(RecordId),
        })
    }
}

/// A record as this transaction sees it.
pub(super) async fn get(tx: &mut Tx, tenant_id: TenantId, id: RecordId) -> Result<Option<Record>, Error> {
    let text = concat!("select ", record_columns!(), " from billing_records r where r.tenant_id = $1 and r.id = $2");
    let row: Option<RecordRow> =
        on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    row.map(Record::try_from).transpose()
}

/// The same, and nobody else changes it until the transaction ends.
pub(super) async fn locked(tx: &mut Tx, tenant_id: TenantId, id: RecordId) -> Result<Option<Record>, Error> {
    let lock = "update billing_records set version = version where tenant_id = $1 and id = $2";
    on!(&mut *tx, t => sqlx::query(lock).bind(tenant_id.0).bind(id.0).execute(&mut **t).await.map(|_| ()))?;
    get(tx, tenant_id, id).await
}

/// A record's lines in their order.
pub(super) async fn lines(tx: &mut Tx, tenant_id: TenantId, id: RecordId) -> Result<Vec<RecordLine>, Error> {
    let text = concat!(
        "select ",
        line_columns!(),
        " from billing_lines l where l.tenant_id = $1 and l.record_id = $2 order by l.position"
    );
    let rows: Vec<LineRow> = on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_all(&mut **t).await)?;
    rows.into_iter().map(RecordLine::try_from).collect()
}

//! Billing records, as they are shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tollgate_domain::{
    ApiKeyId, Environment, Money, RecordId,
    billing::{PaymentStatus, Record, RecordLine, RecordStatus, record::hex},
};
use utoipa::{ToSchema, openapi::ObjectBuilder};

use crate::answers::{
    bill::{DueView, LineView},
    views::{environment, one_of, one_of_or_null},
};

/// What one key owes for one calendar month.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordView {
    /// Of an open one, the id that it will have.
    #[schema(value_type = uuid::Uuid)]
    id: RecordId,
    /// For people. Unique in practice, and not without gaps.
    #[schema(example = "TG-2026-11-5c1f09ab")]
    number: String,
    #[schema(value_type = uuid::Uuid)]
    api_key_id: ApiKeyId,
    #[schema(example = "Checkout service")]
    api_key_name: String,
    #[schema(required, example = "acme")]
    owner_id: Option<String>,
    #[schema(schema_with = environment)]
    environment: Environment,
    /// The plan at the period's end.
    #[schema(example = "standard")]
    tier: String,
    /// From 1; one that replaces a void record counts on.
    #[schema(example = 1)]
    revision: u32,
    #[schema(schema_with = record_status)]
    status: RecordStatus,
    /// Null unless it is closed.
    #[schema(required, schema_with = payment_status_or_null)]
    payment_status: Option<PaymentStatus>,
    #[serde(flatten)]
    due: DueView,
    #[schema(example = "0.00")]
    amount_paid: String,
    /// The period's end and the grace.
    #[schema(required)]
    closed_at: Option<DateTime<Utc>>,
    #[schema(required)]
    due_at: Option<DateTime<Utc>>,
    #[schema(required)]
    paid_at: Option<DateTime<Utc>>,
    #[schema(required)]
    voided_at: Option<DateTime<Utc>>,
    #[schema(required, example = "wrong plan")]
    void_reason: Option<String>,
    /// False: a node had not brought its usage when the period was closed.
    complete: bool,
    /// SHA-256 of all that never changes.
    #[schema(required, example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    digest: Option<String>,
    /// Counts changes of status and payment; `If-Match` compares it.
    #[schema(example = 1)]
    version: i64,
}

/// A record with its lines.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordWithLines {
    #[serde(flatten)]
    record: RecordView,
    lines: Vec<LineView>,
}

/// A running record.
#[derive(Serialize, ToSchema)]
pub(crate) struct CurrentRecord {
    #[serde(flatten)]
    record: RecordWithLines,
    /// If use goes on as it did; null in the first tenth of the period.
    #[schema(required)]
    projected: Option<Projected>,
}

/// What a period will come to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Projected {
    #[schema(example = 260_000)]
    units: u64,
    #[schema(example = "109.00")]
    amount_due: String,
}

impl From<Record> for RecordView {
    fn from(record: Record) -> Self {
        let due = DueView::from(&record);
        let is_open = record.status == RecordStatus::Open;
        Self {
            id: record.id,
            number: record.number,
            api_key_id: record.api_key_id,
            api_key_name: record.api_key_name,
            owner_id: record.owner_id,
            environment: record.environment,
            tier: record.tier,
            revision: record.revision,
            status: record.status,
            payment_status: record.payment_status,
            due,
            amount_paid: record.amount_paid.in_currency(record.currency),
            closed_at: record.closed_at,
            due_at: record.due_at,
            paid_at: record.paid_at,
            voided_at: record.voided_at,
            void_reason: record.void_reason,
            complete: record.complete,
            digest: (!is_open).then(|| format!("sha256:{}", hex(&record.digest))),
            version: record.version,
        }
    }
}

impl RecordWithLines {
    pub(crate) fn new(record: Record, lines: Vec<RecordLine>) -> Self {
        let currency = record.currency;
        let lines = lines.into_iter().map(|line| LineView::new(line, currency)).collect();
        Self { record: record.into(), lines }
    }
}

impl CurrentRecord {
    pub(crate) fn new(record: Record, lines: Vec<RecordLine>, projected: Option<(u64, Money)>) -> Self {
        let currency = record.currency;
        let projected = projected.map(|(units, amount)| Projected { units, amount_due: amount.in_currency(currency) });
        Self { record: RecordWithLines::new(record, lines), projected }
    }
}

pub(crate) fn record_status() -> ObjectBuilder {
    one_of(&["open", "closed", "void"])
}

pub(crate) fn payment_status() -> ObjectBuilder {
    one_of(&PaymentStatus::ALL.map(PaymentStatus::as_str))
}

fn payment_status_or_null() -> ObjectBuilder {
    one_of_or_null(&PaymentStatus::ALL.map(PaymentStatus::as_str))
}

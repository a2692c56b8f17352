//! Bills and their lines, as they are shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tollgate_domain::{
    BillingPeriod, Currency, Money, PriceId, RecordId,
    billing::{Record, RecordLine},
    price::{Bill, LineKind, TooLarge, total},
};
use utoipa::{ToSchema, openapi::ObjectBuilder};

use crate::answers::views::one_of;

/// From the first moment to the first that no longer belongs to it.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Period {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// One line. `amount` is rounded once, to a millionth of the currency's unit.
#[derive(Serialize, ToSchema)]
pub(crate) struct LineView {
    /// From 1.
    #[schema(example = 1)]
    position: u32,
    #[schema(schema_with = line_kind)]
    kind: LineKind,
    description: &'static str,
    /// The version of prices.
    #[schema(required, value_type = Option<uuid::Uuid>)]
    price_id: Option<PriceId>,
    #[schema(required, example = "standard")]
    tier_name: Option<String>,
    /// Of a graduated or volume price: which tier, from 1.
    #[schema(required)]
    tier: Option<u32>,
    #[schema(required)]
    segment: Option<SegmentView>,
    period: Period,
    /// Whole units, packages, or 1.
    #[schema(example = 30_000)]
    quantity: u64,
    /// For one of them; of what is owed per period, for a whole one.
    #[schema(required, example = "0.0005")]
    unit_amount: Option<String>,
    /// Negative where it is taken off.
    #[schema(example = "15.00")]
    amount: String,
    /// The record that a correction is about.
    #[schema(required, value_type = Option<uuid::Uuid>)]
    corrects_record_id: Option<RecordId>,
}

/// The part of a period in which one version of prices is in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct SegmentView {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    /// Of the whole period's time, as a fraction.
    #[schema(example = "1/2")]
    share: String,
}

/// What a period comes to, of whatever lines.
#[derive(Serialize, ToSchema)]
pub(crate) struct DueView {
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    period: Period,
    /// Admitted.
    #[schema(example = 130_000)]
    units: u64,
    /// Of those, beyond the included ones.
    #[schema(example = 30_000)]
    overage_units: u64,
    /// All lines but credits.
    #[schema(example = "44.00")]
    subtotal: String,
    /// What grants paid.
    #[schema(example = "0.00")]
    credits_applied: String,
    /// What rounding to an amount that can be paid adds or takes.
    #[schema(example = "0.00")]
    rounding: String,
    /// All lines.
    #[schema(example = "44.00")]
    total: String,
    #[schema(example = "44.00")]
    amount_due: String,
    /// In the currency's smallest unit, as payment providers want it.
    #[schema(example = 4_400)]
    amount_due_minor: i64,
}

/// A bill that nobody owes.
#[derive(Serialize, ToSchema)]
pub(crate) struct BillView {
    #[serde(flatten)]
    due: DueView,
    lines: Vec<LineView>,
}

impl BillView {
    pub(crate) fn new(period: BillingPeriod, bill: &Bill) -> Result<Self, TooLarge> {
        let currency = bill.currency;
        let amount = |amount: Money| amount.in_currency(currency);
        let total = total(currency, bill.amounts())?;
        let lines = bill.record_lines(period);
        let due = DueView {
            currency,
            period: period.into(),
            units: bill.units(),
            overage_units: bill.overage_units(),
            subtotal: amount(total.total),
            credits_applied: amount(Money::ZERO),
            rounding: amount(total.rounding),
            total: amount(total.total),
            amount_due: amount(total.amount_due),
            amount_due_minor: total.amount_due_minor,
        };
        let lines = lines.into_iter().map(|line| LineView::new(line, currency)).collect();
        Ok(Self { due, lines })
    }
}

impl From<&Record> for DueView {
    fn from(record: &Record) -> Self {
        let amount = |amount: Money| amount.in_currency(record.currency);
        Self {
            currency: record.currency,
            period: record.period.into(),
            units: record.units,
            overage_units: record.overage_units,
            subtotal: amount(record.subtotal),
            credits_applied: amount(record.credits_applied),
            rounding: amount(record.rounding),
            total: amount(record.total),
            amount_due: amount(record.amount_due),
            amount_due_minor: record.amount_due_minor,
        }
    }
}

impl LineView {
    pub(crate) fn new(line: RecordLine, currency: Currency) -> Self {
        let description = line.description();
        let segment =
            line.segment.map(|segment| SegmentView { start: segment.start, end: segment.end, share: segment.share });
        Self {
            position: line.position,
            kind: line.kind,
            description,
            price_id: line.price_id,
            tier_name: line.tier_name,
            tier: line.tier,
            segment,
            period: line.period.into(),
            quantity: line.quantity,
            unit_amount: line.unit_amount.map(|unit| unit.in_currency(currency)),
            amount: line.amount.in_currency(currency),
            corrects_record_id: line.corrects_record_id,
        }
    }
}

impl From<BillingPeriod> for Period {
    fn from(BillingPeriod { start, end }: BillingPeriod) -> Self {
        Self { start, end }
    }
}

fn line_kind() -> ObjectBuilder {
    one_of(&["base", "usage", "tier_flat", "minimum_true_up", "maximum_discount", "correction", "credit"])
}

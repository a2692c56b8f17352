//! Which records are listed, and in what order.

use serde::{Deserialize, Serialize};

use super::{PaymentStatus, RecordStatus};
use crate::{ApiKeyId, BillingPeriod, Currency, Environment, Order};

/// Members that are `None` leave all records in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of Record")]
pub struct RecordFilter {
    pub status: Option<RecordStatus>,
    pub payment_status: Option<PaymentStatus>,
    pub api_key_id: Option<ApiKeyId>,
    pub owner_id: Option<String>,
    pub tier: Option<String>,
    pub currency: Option<Currency>,
    pub environment: Option<Environment>,
    pub period: Option<BillingPeriod>,
    pub order_by: RecordOrder,
    pub order: Order,
}

/// What records are sorted by; then by their id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOrder {
    /// Their month.
    #[default]
    Period,
    /// What is to be paid, whatever the currency.
    AmountDue,
    /// When they were closed.
    CreatedAt,
}

/// What a summary adds up by. Amounts are always apart by currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummaryGroup {
    /// The currency alone.
    #[default]
    Currency,
    /// The plan at the period's end.
    Tier,
    /// The owner; none is a group of its own.
    Owner,
    /// Closed or void.
    Status,
}

//! A record: what one key owes for one calendar month, and what became of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Builder;

use super::RecordLine;
use crate::{
    ApiKeyId, BillingPeriod, Currency, Environment, Money, PriceId, Rate, RecordId, TenantId, price::LineKind,
};

/// Whether a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// The period goes on: computed, never stored.
    Open,
    /// Owed. Its numbers and lines never change.
    Closed,
    /// Taken back.
    Void,
}

/// What was paid of a closed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Nothing yet.
    Pending,
    /// All of it.
    Paid,
    /// A payment was tried in vain.
    Failed,
    /// Nothing by the day it was due.
    Overdue,
    /// What was paid was given back.
    Refunded,
}

/// A record without its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Made from tenant, key, period and revision: closing again makes the same.
    pub id: RecordId,
    /// For people. Unique in practice, with gaps.
    pub number: String,
    /// The key.
    pub api_key_id: ApiKeyId,
    /// Its name when the record was written.
    pub api_key_name: String,
    /// Its owner then.
    pub owner_id: Option<String>,
    /// Only live keys have stored records.
    pub environment: Environment,
    /// The plan at the period's end.
    pub tier: String,
    /// From 1; a record that replaces a void one counts on.
    pub revision: u32,
    /// Whether it counts.
    pub status: RecordStatus,
    /// None unless it is closed.
    pub payment_status: Option<PaymentStatus>,
    /// Of all amounts.
    pub currency: Currency,
    /// The month.
    pub period: BillingPeriod,
    /// Admitted units.
    pub units: u64,
    /// Of those, beyond the included ones.
    pub overage_units: u64,
    /// All lines but credits.
    pub subtotal: Money,
    /// What grants paid.
    pub credits_applied: Money,
    /// All lines.
    pub total: Money,
    /// What rounding to an amount that can be paid adds.
    pub rounding: Money,
    /// What is to be paid.
    pub amount_due: Money,
    /// The same in the currency's smallest unit.
    pub amount_due_minor: i64,
    /// What was paid.
    pub amount_paid: Money,
    /// Whether all usage was known when it was written.
    pub complete: bool,
    /// When the period was closed: its end and the grace.
    pub closed_at: Option<DateTime<Utc>>,
    /// When it is to be paid.
    pub due_at: Option<DateTime<Utc>>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub voided_at: Option<DateTime<Utc>>,
    /// Why it was taken back.
    pub void_reason: Option<String>,
    /// SHA-256 of owner and name, which may be erased while the digest has to hold.
    pub holder_hash: [u8; 32],
    /// SHA-256 of all that never changes; see [`Record::digest_of`].
    pub digest: [u8; 32],
    /// Counts changes of its status and payment.
    pub version: i64,
}

impl RecordStatus {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Void => "void",
        }
    }
}

impl PaymentStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Paid, Self::Failed, Self::Overdue, Self::Refunded];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Overdue => "overdue",
            Self::Refunded => "refunded",
        }
    }

    /// What may follow. Only what was paid can be refunded.
    pub fn next(self, amount_paid: Money) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Paid, Self::Failed, Self::Overdue],
            Self::Failed => &[Self::Pending, Self::Paid, Self::Overdue],
            Self::Overdue => &[Self::Paid, Self::Failed],
            Self::Paid if amount_paid > Money::ZERO => &[Self::Refunded],
            Self::Paid | Self::Refunded => &[],
        }
    }
}

/// The id of a record: a UUIDv7 whose time is the period's end and whose other bits are a hash, so that whoever closes the
/// period, and however often, makes the same.
pub fn record_id(tenant_id: TenantId, key: ApiKeyId, period: BillingPeriod, revision: u32) -> RecordId {
    let start = period.start.timestamp_micros().to_be_bytes();
    let parts: [&[u8]; 4] = [tenant_id.0.as_bytes(), key.0.as_bytes(), &start, &revision.to_be_bytes()];
    let hash = parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    let random = hash.first_chunk().copied().unwrap_or_default();
    let millis = u64::try_from(period.end.timestamp_millis()).unwrap_or(0);
    RecordId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

/// `TG-2026-11-5c1f09ab`: the month and the last of the id.
pub fn record_number(id: RecordId, period: BillingPeriod) -> String {
    let [.., a, b, c, d] = *id.0.as_bytes();
    format!("TG-{}-{:08x}", period.start.format("%Y-%m"), u32::from_be_bytes([a, b, c, d]))
}

/// [`Record::holder_hash`].
pub fn holder_hash(tenant_id: TenantId, key: ApiKeyId, owner_id: Option<&str>, name: &str) -> [u8; 32] {
    let owner = owner_id.unwrap_or_default();
    let length = (owner.len() as u64).to_be_bytes();
    let parts: [&[u8]; 5] = [tenant_id.0.as_bytes(), key.0.as_bytes(), &length, owner.as_bytes(), name.as_bytes()];
    parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize().into()
}

/// What the digest covers. The members stand in the order of their names: the text is canonical JSON.
#[derive(Serialize)]
struct Digested<'a> {
    amount_due: Money,
    amount_due_minor: i64,
    api_key_id: ApiKeyId,
    complete: bool,
    credits_applied: Money,
    currency: Currency,
    environment: &'a str,
    holder: String,
    lines: Vec<DigestedLine<'a>>,
    overage_units: u64,
    period: [DateTime<Utc>; 2],
    revision: u32,
    rounding: Money,
    subtotal: Money,
    tier: &'a str,
    total: Money,
    units: u64,
}

#[derive(Serialize)]
struct DigestedLine<'a> {
    amount: Money,
    corrects_record_id: Option<RecordId>,
    kind: LineKind,
    period: [DateTime<Utc>; 2],
    position: u32,
    price_id: Option<PriceId>,
    quantity: u64,
    segment: Option<(DateTime<Utc>, DateTime<Utc>, &'a str)>,
    tier: Option<u32>,
    tier_name: Option<&'a str>,
    unit_amount: Option<Rate>,
}

impl<'a> DigestedLine<'a> {
    fn of(line: &'a RecordLine) -> Self {
        let segment = line.segment.as_ref().map(|segment| (segment.start, segment.end, segment.share.as_str()));
        Self {
            amount: line.amount,
            corrects_record_id: line.corrects_record_id,
            kind: line.kind,
            period: [line.period.start, line.period.end],
            position: line.position,
            price_id: line.price_id,
            quantity: line.quantity,
            segment,
            tier: line.tier,
            tier_name: line.tier_name.as_deref(),
            unit_amount: line.unit_amount,
        }
    }
}

impl Record {
    /// SHA-256 of the record and its lines as canonical JSON (members in order, no blanks, amounts as decimal texts), without
    /// id, number, times of writing and payment.
    ///
    /// # Errors
    /// Never in practice: it is made of texts and whole numbers.
    pub fn digest_of(&self, lines: &[RecordLine]) -> Result<[u8; 32], serde_json::Error> {
        let digested = Digested {
            amount_due: self.amount_due,
            amount_due_minor: self.amount_due_minor,
            api_key_id: self.api_key_id,
            complete: self.complete,
            credits_applied: self.credits_applied,
            currency: self.currency,
            environment: self.environment.as_str(),
            holder: hex(&self.holder_hash),
            lines: lines.iter().map(DigestedLine::of).collect(),
            overage_units: self.overage_units,
            period: [self.period.start, self.period.end],
            revision: self.revision,
            rounding: self.rounding,
            subtotal: self.subtotal,
            tier: &self.tier,
            total: self.total,
            units: self.units,
        };
        Ok(Sha256::digest(serde_json::to_vec(&digested)?).into())
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_moves_as_the_contract_says() {
        use PaymentStatus::{Failed, Overdue, Paid, Pending, Refunded};
        let some = Money(1);
        for (from, to) in [
            (Pending, vec![Paid, Failed, Overdue]),
            (Failed, vec![Pending, Paid, Overdue]),
            (Overdue, vec![Paid, Failed]),
            (Paid, vec![Refunded]),
            (Refunded, vec![]),
        ] {
            assert_eq!(from.next(some), to);
        }
        assert_eq!(Paid.next(Money::ZERO), [], "nothing was paid that could be given back");
    }

    #[test]
    fn a_records_id_is_made_of_what_it_is_for() {
        let period = BillingPeriod::parse("2026-11").unwrap();
        let key = ApiKeyId("01a20a9e-85ea-7c36-a9d2-d95b58943f68".parse().unwrap());
        let id = record_id(TenantId::DEFAULT, key, period, 1);
        assert_eq!(id, record_id(TenantId::DEFAULT, key, period, 1));
        assert_ne!(id, record_id(TenantId::DEFAULT, key, period, 2));
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_timestamp().unwrap().to_unix().0, u64::try_from(period.end.timestamp()).unwrap());
        let number = record_number(id, period);
        assert!(number.starts_with("TG-2026-11-") && id.to_string().ends_with(&number[11..]), "{number}");
    }
}

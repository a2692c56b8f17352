//! Closing a period of one key: from its bill, late usage of earlier periods and its credits to a record.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{
    LineSegment, PaymentStatus, Record, RecordLine, RecordStatus,
    credit::{Grant, apply},
    line::number,
    record::{holder_hash, record_id, record_number},
};
use crate::{
    ApiKeyId, BillingPeriod, Environment, GrantId, Money, PriceId, RecordId, TenantId,
    price::{Bill, BilledSegment, LineKind, TooLarge, total},
};

/// Whose period it is.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Whose key.
    pub tenant_id: TenantId,
    /// The key.
    pub api_key_id: ApiKeyId,
    /// The key's name.
    pub name: String,
    /// The key's owner.
    pub owner_id: Option<String>,
    /// Live, or of tests, whose estimates are never stored.
    pub environment: Environment,
}

/// An earlier period whose usage has changed since it was billed.
#[derive(Clone, Debug)]
pub struct Late {
    /// The period.
    pub period: BillingPeriod,
    /// What it comes to now.
    pub bill: Bill,
    /// The record that does not say so, if there is one.
    pub record_id: Option<RecordId>,
    /// What is billed for it already, by the version of prices: the amount, and the units.
    pub billed: BTreeMap<PriceId, (Money, u64)>,
}

/// Everything that a record is made of.
#[derive(Debug)]
pub struct Closing<'a> {
    /// Whose it is.
    pub holder: &'a Holder,
    /// The month.
    pub period: BillingPeriod,
    /// What it costs.
    pub bill: &'a Bill,
    /// From 1.
    pub revision: u32,
    /// Earlier periods to correct.
    pub late: &'a [Late],
    /// What may pay it. What is used is taken off.
    pub grants: &'a mut [Grant],
    /// Whether all usage is known.
    pub complete: bool,
    /// The period's end and the grace.
    pub closed_at: DateTime<Utc>,
    /// When it is to be paid.
    pub due_at: DateTime<Utc>,
}

/// Units that a record bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilledUnits {
    /// The start of the period they were used in.
    pub period_start: DateTime<Utc>,
    /// At which prices.
    pub price_id: PriceId,
    /// How many: of a correction, the difference.
    pub units: i64,
    /// The sum of their lines.
    pub amount: Money,
}

/// What a closing comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The record.
    pub record: Record,
    /// Its lines.
    pub lines: Vec<RecordLine>,
    /// Which units it bills, by period and version of prices; also those that cost nothing.
    pub billed: Vec<BilledUnits>,
    /// What its credits are: how much of which grant.
    pub applied: Vec<(GrantId, Money)>,
    /// What corrections gave back beyond what the period costs: becomes a grant.
    pub left_over: Money,
}

impl Closed {
    /// Whether there is nothing to be said: no unit, no amount.
    pub fn is_empty(&self) -> bool {
        self.record.units == 0 && self.lines.iter().all(|line| line.amount == Money::ZERO)
    }
}

impl Closing<'_> {
    /// Writes the record.
    ///
    /// # Errors
    /// When an amount leaves the range of [`Money`].
    pub fn close(self) -> Result<Closed, TooLarge> {
        let (period, currency) = (self.period, self.bill.currency);
        let mut lines = self.bill.record_lines(period);
        let mut billed = Vec::new();
        for (price_id, of) in of_prices(self.bill, [])? {
            let units = i64::try_from(of.units).map_err(|_| TooLarge)?;
            billed.push(BilledUnits { period_start: period.start, price_id, units, amount: of.amount });
        }
        for late in self.late {
            let (corrected, of_late) = corrections(late)?;
            lines.extend(corrected);
            billed.extend(of_late);
        }
        let sum = |lines: &[RecordLine]| {
            lines.iter().try_fold(Money::ZERO, |sum, line| sum.checked_add(line.amount)).ok_or(TooLarge)
        };
        let subtotal = sum(&lines)?;
        let applied = apply(self.grants, period, currency, subtotal);
        lines.extend(applied.iter().map(|(_, amount)| credit(period, Money(-amount.0))));
        let left_over = Money(subtotal.0.checked_neg().ok_or(TooLarge)?.max(0));
        if left_over > Money::ZERO {
            lines.push(credit(period, left_over));
        }
        number(&mut lines);
        let total = total(currency, lines.iter().map(|line| line.amount))?;
        let credits = applied.iter().try_fold(Money::ZERO, |sum, (_, amount)| sum.checked_add(*amount));
        let Holder { tenant_id, api_key_id, name, owner_id, environment } = self.holder.clone();
        let id = record_id(tenant_id, api_key_id, period, self.revision);
        let nothing_due = total.amount_due == Money::ZERO;
        let mut record = Record {
            id,
            number: record_number(id, period),
            api_key_id,
            holder_hash: holder_hash(tenant_id, api_key_id, owner_id.as_deref(), &name),
            api_key_name: name,
            owner_id,
            environment,
            tier: self.bill.last().map(|last| last.version.plan_name.clone()).unwrap_or_default(),
            revision: self.revision,
            status: RecordStatus::Closed,
            payment_status: Some(if nothing_due { PaymentStatus::Paid } else { PaymentStatus::Pending }),
            currency,
            period,
            units: self.bill.units(),
            overage_units: self.bill.overage_units(),
            subtotal,
            credits_applied: credits.ok_or(TooLarge)?,
            total: total.total,
            rounding: total.rounding,
            amount_due: total.amount_due,
            amount_due_minor: total.amount_due_minor,
            amount_paid: Money::ZERO,
            complete: self.complete,
            closed_at: Some(self.closed_at),
            due_at: Some(self.due_at),
            paid_at: nothing_due.then_some(self.closed_at),
            voided_at: None,
            void_reason: None,
            digest: [0; 32],
            version: 1,
        };
        record.digest = record.digest_of(&lines).map_err(|_| TooLarge)?;
        Ok(Closed { record, lines, billed, applied, left_over })
    }
}

/// What a version of prices comes to within a period: of all its segments, if it was in force more than once.
#[derive(Default)]
struct OfPrice<'a> {
    amount: Money,
    units: u64,
    first: Option<&'a BilledSegment>,
}

/// What each version of prices comes to, and nothing for the other ones of `also`.
fn of_prices(bill: &Bill, also: impl IntoIterator<Item = PriceId>) -> Result<BTreeMap<PriceId, OfPrice<'_>>, TooLarge> {
    let mut prices: BTreeMap<_, _> = also.into_iter().map(|id| (id, OfPrice::default())).collect();
    for segment in &bill.segments {
        let of = prices.entry(segment.segment.terms).or_default();
        let amounts = segment.lines.iter().map(|line| line.amount);
        of.amount = amounts.chain([of.amount]).try_fold(Money::ZERO, Money::checked_add).ok_or(TooLarge)?;
        of.units = of.units.checked_add(segment.units).ok_or(TooLarge)?;
        of.first.get_or_insert(segment);
    }
    Ok(prices)
}

/// One line per version of prices: what the period comes to now, less what is billed for it.
fn corrections(late: &Late) -> Result<(Vec<RecordLine>, Vec<BilledUnits>), TooLarge> {
    let (mut lines, mut billed) = (Vec::new(), Vec::new());
    for (price_id, now) in of_prices(&late.bill, late.billed.keys().copied())? {
        let (before, units_before) = late.billed.get(&price_id).copied().unwrap_or_default();
        let amount = Money(now.amount.0.checked_sub(before.0).ok_or(TooLarge)?);
        let units = i64::try_from(i128::from(now.units) - i128::from(units_before)).map_err(|_| TooLarge)?;
        if amount != Money::ZERO || units != 0 {
            billed.push(BilledUnits { period_start: late.period.start, price_id, units, amount });
        }
        if amount == Money::ZERO {
            continue;
        }
        let segment = now.first.map(|first| &first.segment);
        lines.push(RecordLine {
            position: 0,
            kind: LineKind::Correction,
            price_id: Some(price_id),
            tier_name: now.first.map(|first| first.version.plan_name.clone()),
            tier: None,
            segment: segment.map(|of| LineSegment { start: of.start, end: of.end, share: of.share.to_string() }),
            period: late.period,
            quantity: u64::try_from(units).unwrap_or(0),
            unit_amount: None,
            amount,
            corrects_record_id: late.record_id,
        });
    }
    Ok((lines, billed))
}

fn credit(period: BillingPeriod, amount: Money) -> RecordLine {
    RecordLine {
        position: 0,
        kind: LineKind::Credit,
        price_id: None,
        tier_name: None,
        tier: None,
        segment: None,
        period,
        quantity: 1,
        unit_amount: None,
        amount,
        corrects_record_id: None,
    }
}

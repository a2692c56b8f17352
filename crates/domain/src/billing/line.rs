//! The lines of a record.

use chrono::{DateTime, Utc};

use crate::{
    BillingPeriod, Money, PriceId, Rate, RecordId,
    price::{Bill, BilledSegment, Line, LineKind},
};

/// One line of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine {
    /// From 1, in the order of the record.
    pub position: u32,
    /// What it is for.
    pub kind: LineKind,
    /// The version of prices. None for what has no price of its own.
    pub price_id: Option<PriceId>,
    /// The plan's name, where there is a price.
    pub tier_name: Option<String>,
    /// Of a tiered price: which tier, from 1.
    pub tier: Option<u32>,
    /// The part of the period that it is for.
    pub segment: Option<LineSegment>,
    /// The period that it is for: of a correction, the corrected one.
    pub period: BillingPeriod,
    /// Whole units, packages, or 1.
    pub quantity: u64,
    /// For one of them.
    pub unit_amount: Option<Rate>,
    /// What is owed; negative where it is taken off.
    pub amount: Money,
    /// The record that a correction is about.
    pub corrects_record_id: Option<RecordId>,
}

/// A part of a period, as a line shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSegment {
    /// First moment.
    pub start: DateTime<Utc>,
    /// First moment that no longer belongs to it.
    pub end: DateTime<Utc>,
    /// Of the whole period, as a reduced fraction.
    pub share: String,
}

impl RecordLine {
    /// In words.
    pub fn description(&self) -> &'static str {
        match self.kind {
            LineKind::Base => "Base fee",
            LineKind::Usage => "Usage beyond the included units",
            LineKind::TierFlat => "Flat fee of the tier",
            LineKind::MinimumTrueUp => "Difference to the minimum",
            LineKind::MaximumDiscount => "Discount above the maximum",
            LineKind::Correction => "Correction for late usage of an earlier period",
            LineKind::Credit => "Credit",
        }
    }

    fn of(segment: &BilledSegment, line: &Line, period: BillingPeriod) -> Self {
        let of = &segment.segment;
        Self {
            position: 0,
            kind: line.kind,
            price_id: Some(of.terms),
            tier_name: Some(segment.version.plan_name.clone()),
            tier: line.tier,
            segment: Some(LineSegment { start: of.start, end: of.end, share: of.share.to_string() }),
            period,
            quantity: line.quantity,
            unit_amount: line.unit_amount,
            amount: line.amount,
            corrects_record_id: None,
        }
    }
}

impl Bill {
    /// The lines of all segments, in time, as a record shows them.
    pub fn record_lines(&self, period: BillingPeriod) -> Vec<RecordLine> {
        let of_segment = |segment: &BilledSegment| -> Vec<RecordLine> {
            segment.lines.iter().map(|line| RecordLine::of(segment, line, period)).collect()
        };
        let mut lines: Vec<_> = self.segments.iter().flat_map(of_segment).collect();
        number(&mut lines);
        lines
    }
}

/// Gives lines their positions.
pub(super) fn number(lines: &mut [RecordLine]) {
    (1..).zip(lines).for_each(|(position, line)| line.position = position);
}

//! A billing period, split where the terms change.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, Utc};

use super::{Proration, exact::Exact};
use crate::BillingPeriod;

/// The part of a whole period that a segment is: an exact fraction of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub(super) Exact);

impl Share {
    /// All of the period.
    pub const WHOLE: Self = Self(Exact::ONE);
    /// Nothing of it.
    pub const NONE: Self = Self(Exact::ZERO);

    /// `from..to` of the whole `period`, none where it lies outside.
    pub fn of(period: BillingPeriod, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let (from, to) = (from.clamp(period.start, period.end), to.clamp(period.start, period.end));
        let micros = |from: DateTime<Utc>, to: DateTime<Utc>| to.timestamp_micros() - from.timestamp_micros();
        Self(Exact::fraction(micros(from, to).max(0), micros(period.start, period.end)))
    }
}

impl fmt::Display for Share {
    /// As a reduced fraction, `1/2`, or the whole, `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.denominator() {
            1 => write!(f, "{}", self.0.numerator()),
            of => write!(f, "{}/{of}", self.0.numerator()),
        }
    }
}

/// The longest span within one period in which one version of terms is in force. `T` names the terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<T> {
    /// Names it within its period: units from here on are this segment's.
    pub starts_at: DateTime<Utc>,
    /// First moment that is owed for.
    pub start: DateTime<Utc>,
    /// First moment that no longer is. Not after `start` where nothing is.
    pub end: DateTime<Utc>,
    /// Of the whole period, for all that is owed per period.
    pub share: Share,
    /// What is in force.
    pub terms: T,
}

/// When something comes into force, and what; ascending in time.
pub type Change<T> = (DateTime<Utc>, T);

/// How long a key is there to be billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was made.
    pub from: DateTime<Utc>,
    /// When it was deleted or revoked, or expired. None: it lives on.
    pub to: Option<DateTime<Utc>>,
}

/// The prices that a key has from when: those of the plan that it is on, as they change. `plans` are the plans that the key is
/// on from when, `prices` those of each plan; the first of both counts from the beginning of time.
pub fn timeline<P: Ord, T: Copy>(plans: &[Change<P>], prices: &BTreeMap<P, Vec<Change<T>>>) -> Vec<Change<T>> {
    let mut changes = Vec::new();
    let ends = plans.iter().skip(1).map(|(start, _)| Some(*start)).chain([None]);
    for ((start, plan), end) in plans.iter().zip(ends) {
        let of_plan = prices.get(plan).map(Vec::as_slice).unwrap_or_default();
        let in_force = of_plan.iter().rev().find(|(from, _)| from <= start).or(of_plan.first());
        changes.extend(in_force.map(|(_, price)| (*start, *price)));
        let within = of_plan.iter().filter(|(from, _)| from > start && end.is_none_or(|end| *from < end));
        // A plan's first prices are in force before it, too.
        changes.extend(within.filter(|change| Some(change.0) != of_plan.first().map(|first| first.0)));
    }
    changes
}

/// Where the segments of `period` begin, and what is in force there: the first at the period's start. Equal neighbours are one.
/// The first of all changes counts from the beginning of time.
pub fn starts<T: Clone + PartialEq>(period: BillingPeriod, changes: &[Change<T>]) -> Vec<Change<T>> {
    let mut starts: Vec<Change<T>> = Vec::new();
    for (index, (from, terms)) in changes.iter().enumerate() {
        if *from >= period.end && index > 0 {
            break;
        }
        let from = (*from).clamp(period.start, period.end);
        // What came into force at the same moment, or before the period, replaces what was there.
        starts.pop_if(|(start, _)| *start >= from);
        if starts.last().is_none_or(|(_, before)| before != terms) {
            starts.push((from, terms.clone()));
        }
    }
    if let Some((first, _)) = starts.first_mut() {
        *first = period.start;
    }
    starts
}

/// Splits `period` where `changes` say so. The terms in force at the period's end say by their [`Proration`] what of the
/// period counts.
pub fn segments<T: Clone + PartialEq>(
    period: BillingPeriod,
    changes: &[Change<T>],
    lifetime: Lifetime,
    proration_of: impl Fn(&T) -> Proration,
) -> Vec<Segment<T>> {
    let starts = starts(period, changes);
    let Some((_, last)) = starts.last() else { return Vec::new() };
    let (proration, count) = (proration_of(last), starts.len());
    let ends: Vec<_> = starts.iter().skip(1).map(|(start, _)| *start).chain([period.end]).collect();
    let parts = starts.into_iter().zip(ends).enumerate();
    let shared = parts.map(|(index, ((starts_at, terms), end))| {
        let (start, end) = match proration {
            Proration::Time => (starts_at.max(lifetime.from), end.min(lifetime.to.unwrap_or(end))),
            Proration::Changes | Proration::None => (starts_at, end),
        };
        let share = match proration {
            Proration::None if index + 1 == count => Share::WHOLE,
            Proration::None => Share::NONE,
            Proration::Changes | Proration::Time => Share::of(period, start, end),
        };
        Segment { starts_at, start, end, share, terms }
    });
    shared.collect()
}

/// The index of the last of these moments that is not after `at`, else of the first.
pub fn index_at(
    mut starts: impl DoubleEndedIterator<Item = DateTime<Utc>> + ExactSizeIterator,
    at: DateTime<Utc>,
) -> usize {
    starts.rposition(|start| start <= at).unwrap_or(0)
}

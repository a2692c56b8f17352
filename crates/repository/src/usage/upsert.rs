//! Adds counts to the usage tables. The caller's transaction must ensure that they are new: a
//! fold of pending usage, or events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, TenantId,
    period::{day_of, hour_of, minute_of, month_of},
    price::segment::index_at,
    usage::{Counts, KeyUsage},
};
use uuid::Uuid;

use super::Key;
use crate::{
    Error,
    billing::accounts,
    core::{
        database::Tx,
        rows::{Rows, parts},
        text::storable,
        time::micros,
    },
    prices,
    usage::endpoints,
};

/// What a key has used in a billing period after an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodTotal {
    /// The key's tenant.
    pub tenant_id: TenantId,
    /// The key.
    pub api_key_id: ApiKeyId,
    /// When the period began.
    pub period_start: DateTime<Utc>,
    /// Units admitted in it.
    pub allowed: i64,
}

/// What to add to a period.
struct PeriodSum {
    counts: Counts,
    /// Those of its admitted units that came by events and through no journal; none: not to be touched.
    event_units: Option<i64>,
    last_at: DateTime<Utc>,
}

/// A key's period, and where the segment begins in it.
type SegmentKey = (Key, DateTime<Utc>, DateTime<Utc>);

/// What is to be added, each row once and in the order of the tables' keys.
#[derive(Default)]
pub(crate) struct Additions {
    minutes: BTreeMap<(DateTime<Utc>, Key), Counts>,
    hours: BTreeMap<(Key, DateTime<Utc>), Counts>,
    days: BTreeMap<(Key, DateTime<Utc>), Counts>,
    periods: BTreeMap<(Key, DateTime<Utc>), PeriodSum>,
    endpoints: BTreeMap<(Key, DateTime<Utc>), BTreeMap<String, i64>>,
}

impl Additions {
    pub(crate) fn add(&mut self, usage: &KeyUsage) {
        let key = (usage.tenant_id, usage.api_key_id);
        for row in &usage.minutes {
            let minute = minute_of(row.minute);
            self.minutes.entry((minute, key)).or_default().add(&row.counts);
            self.hours.entry((key, hour_of(minute))).or_default().add(&row.counts);
            self.days.entry((key, day_of(minute))).or_default().add(&row.counts);
            let last_at = micros(row.last_at);
            let none = PeriodSum { counts: Counts::default(), event_units: None, last_at };
            let period = self.periods.entry((key, month_of(minute))).or_insert(none);
            period.counts.add(&row.counts);
            period.last_at = period.last_at.max(last_at);
        }
        for row in &usage.endpoints {
            let day = self.endpoints.entry((key, day_of(row.day))).or_default();
            let sum = day.entry(storable(&row.endpoint)).or_default();
            *sum = sum.saturating_add(row.allowed);
        }
    }

    /// The usage of one event: its units are counted as all are, and separately as units that no journal has brought.
    pub(crate) fn add_event(&mut self, usage: &KeyUsage) {
        self.add(usage);
        let key = (usage.tenant_id, usage.api_key_id);
        for row in &usage.minutes {
            if let Some(period) = self.periods.get_mut(&(key, month_of(row.minute))) {
                let sum = period.event_units.unwrap_or_default();
                period.event_units = Some(sum.saturating_add(row.counts.allowed));
            }
        }
    }

    /// Adds everything, and returns the new period totals.
    pub(crate) async fn write(self, tx: &mut Tx, now: DateTime<Utc>) -> Result<Vec<PeriodTotal>, Error> {
        let past = self.periods.keys().copied().filter(|(_, period)| *period < month_of(now)).collect();
        accounts::mark_late(tx, &past).await?;
        let segments = self.segments(tx).await?;
        let minutes = self.minutes.into_iter().map(|((minute, key), counts)| (key, minute, counts));
        add_counts(tx, MINUTES, minutes.collect()).await?;
        for (rows, sums) in [(HOURS, self.hours), (DAYS, self.days)] {
            add_counts(tx, rows, sums.into_iter().map(|((key, at), counts)| (key, at, counts)).collect()).await?;
        }
        let totals = add_periods(tx, self.periods.into_iter().collect()).await?;
        add_segments(tx, segments).await?;
        endpoints::add(tx, self.endpoints).await?;
        Ok(totals)
    }

    /// The admitted units by the prices that were in force in their minute.
    async fn segments(&self, tx: &mut Tx) -> Result<Vec<(SegmentKey, i64)>, Error> {
        let wanted = self.periods.keys().copied().collect();
        let starts = prices::segment_starts(tx, &wanted).await?;
        let mut units: BTreeMap<SegmentKey, i64> = BTreeMap::new();
        for ((minute, key), counts) in self.minutes.iter().filter(|(_, counts)| counts.allowed != 0) {
            let period = month_of(*minute);
            let changes = starts.get(&(*key, period)).map(Vec::as_slice).unwrap_or_default();
            let start = changes.get(index_at(changes.iter().copied(), *minute)).copied().unwrap_or(period);
            let sum = units.entry((*key, period, start)).or_default();
            *sum = sum.saturating_add(counts.allowed);
        }
        Ok(units.into_iter().collect())
    }
}

macro_rules! counts_of {
    ($table:literal, $time:literal) => {
        Rows {
            head: concat!(
                "insert into ",
                $table,
                " (tenant_id, api_key_id, ",
                $time,
                ", allowed, rate_limited, quota_exceeded, rejected)"
            ),
            width: 7,
            tail: concat!(
                " on conflict (tenant_id, api_key_id, ",
                $time,
                ") do update set allowed = ",
                $table,
                ".allowed + excluded.allowed, rate_limited = ",
                $table,
                ".rate_limited + excluded.rate_limited, quota_exceeded = ",
                $table,
                ".quota_exceeded + excluded.quota_exceeded, rejected = ",
                $table,
                ".rejected + excluded.rejected"
            ),
        }
    };
}

const MINUTES: Rows = counts_of!("usage_minutes", "minute");
const HOURS: Rows = counts_of!("usage_hours", "hour");
const DAYS: Rows = counts_of!("usage_days", "day");
const PERIODS: Rows = Rows {
    head: "insert into usage_periods (tenant_id, api_key_id, period_start,
            allowed, rate_limited, quota_exceeded, rejected, last_at, event_units)",
    width: 9,
    tail: " on conflict (tenant_id, api_key_id, period_start) do update set
            allowed = usage_periods.allowed + excluded.allowed,
            rate_limited = usage_periods.rate_limited + excluded.rate_limited,
            quota_exceeded = usage_periods.quota_exceeded + excluded.quota_exceeded,
            rejected = usage_periods.rejected + excluded.rejected,
            last_at = case when excluded.last_at > usage_periods.last_at
                then excluded.last_at else usage_periods.last_at end,
            event_units = case when excluded.event_units is null
                then usage_periods.event_units else coalesce(usage_periods.event_units, 0) + excluded.event_units end
        returning tenant_id, api_key_id, period_start, allowed",
};

const SEGMENTS: Rows = Rows {
    head: "insert into usage_segments (tenant_id, api_key_id, period_start, starts_at, units)",
    width: 5,
    tail: " on conflict (tenant_id, api_key_id, period_start, starts_at) do update set
            units = usage_segments.units + excluded.units",
};

async fn add_segments(tx: &mut Tx, segments: Vec<(SegmentKey, i64)>) -> Result<(), Error> {
    for part in parts(tx, &segments) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(SEGMENTS.text(part.len()));
            for (((tenant, key), period, start), units) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*period).bind(*start).bind(*units);
            }
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

async fn add_counts(tx: &mut Tx, rows: Rows, sums: Vec<(Key, DateTime<Utc>, Counts)>) -> Result<(), Error> {
    for part in parts(tx, &sums) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(rows.text(part.len()));
            for ((tenant, key), at, counts) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*at);
                query = query.bind(counts.allowed).bind(counts.rate_limited);
                query = query.bind(counts.quota_exceeded).bind(counts.rejected);
            }
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

async fn add_periods(tx: &mut Tx, sums: Vec<((Key, DateTime<Utc>), PeriodSum)>) -> Result<Vec<PeriodTotal>, Error> {
    let mut totals = Vec::with_capacity(sums.len());
    for part in parts(tx, &sums) {
        let written: Vec<(Uuid, Uuid, DateTime<Utc>, i64)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(PERIODS.text(part.len()));
            for (((tenant, key), period), PeriodSum { counts, event_units, last_at }) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*period);
                query = query.bind(counts.allowed).bind(counts.rate_limited);
                query = query.bind(counts.quota_exceeded).bind(counts.rejected).bind(*last_at).bind(*event_units);
            }
            query.fetch_all(&mut **t).await?
        });
        totals.extend(written.into_iter().map(|(tenant, key, period_start, allowed)| PeriodTotal {
            tenant_id: TenantId(tenant),
            api_key_id: ApiKeyId(key),
            period_start,
            allowed,
        }));
    }
    Ok(totals)
}

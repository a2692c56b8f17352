//! Adds counts to the usage tables. The caller's transaction must ensure that they are new: a
//! fold of pending usage, or events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, TenantId,
    period::{day_of, hour_of, minute_of, month_of},
    usage::{Counts, KeyUsage},
};
use uuid::Uuid;

use super::Key;
use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
        text::storable,
        time::micros,
    },
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

/// The counts to add to a period, and its last decision.
type PeriodSum = (Counts, DateTime<Utc>);

/// The additions, each row once and in the order of the tables' keys.
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
            let period = self.periods.entry((key, month_of(minute))).or_insert((Counts::default(), last_at));
            period.0.add(&row.counts);
            period.1 = period.1.max(last_at);
        }
        for row in &usage.endpoints {
            let day = self.endpoints.entry((key, day_of(row.day))).or_default();
            let sum = day.entry(storable(&row.endpoint)).or_default();
            *sum = sum.saturating_add(row.allowed);
        }
    }

    /// Adds everything, and returns the new period totals.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<Vec<PeriodTotal>, Error> {
        let minutes = self.minutes.into_iter().map(|((minute, key), counts)| (key, minute, counts));
        add_counts(tx, MINUTES, minutes.collect()).await?;
        for (rows, sums) in [(HOURS, self.hours), (DAYS, self.days)] {
            add_counts(tx, rows, sums.into_iter().map(|((key, at), counts)| (key, at, counts)).collect()).await?;
        }
        let totals = add_periods(tx, self.periods.into_iter().collect()).await?;
        endpoints::add(tx, self.endpoints).await?;
        Ok(totals)
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
            allowed, rate_limited, quota_exceeded, rejected, last_at)",
    width: 8,
    tail: " on conflict (tenant_id, api_key_id, period_start) do update set
            allowed = usage_periods.allowed + excluded.allowed,
            rate_limited = usage_periods.rate_limited + excluded.rate_limited,
            quota_exceeded = usage_periods.quota_exceeded + excluded.quota_exceeded,
            rejected = usage_periods.rejected + excluded.rejected,
            last_at = case when excluded.last_at > usage_periods.last_at
                then excluded.last_at else usage_periods.last_at end
        returning tenant_id, api_key_id, period_start, allowed",
};

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
            for (((tenant, key), period), (counts, last_at)) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*period);
                query = query.bind(counts.allowed).bind(counts.rate_limited);
                query = query.bind(counts.quota_exceeded).bind(counts.rejected).bind(*last_at);
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

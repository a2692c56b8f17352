//! What the jobs do. Each may run twice or out of order and is then without effect.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    BillingPeriod,
    usage::{UsageBatch, ViolationBatch},
};
use tollgate_limiter::Timestamp;
use tollgate_repository::{Applied, Retention};

use crate::{Error, Service, entry, sums::floor};

/// Days one run of the roll-up takes at most; the next run takes the rest.
const ROLLUP_CHUNK: i64 = 1_000;
/// Keys used within this time have their quota's counter raised.
const RECENTLY: TimeDelta = TimeDelta::minutes(1);
/// A replayed response is kept for a day (API contract).
const IDEMPOTENCY_KEPT: TimeDelta = TimeDelta::hours(24);

impl Service {
    /// Adds a batch of usage to the database, once.
    pub async fn apply_usage(&self, batch: &UsageBatch) -> Result<Applied, Error> {
        Ok(self.repository().apply_usage(batch).await?)
    }

    /// Adds a batch of violations to the database, once.
    pub async fn record_violations(&self, batch: &ViolationBatch) -> Result<Applied, Error> {
        Ok(self.repository().record_violations(batch).await?)
    }

    /// Sums closed days' minutes to hours and days. Returns how many key-days were rolled up.
    pub async fn roll_up(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        Ok(self.repository().rollup(before, ROLLUP_CHUNK).await?)
    }

    /// Deletes what is past its retention. Returns how many rows went.
    pub async fn clean_up(&self) -> Result<u64, Error> {
        let now = self.clock().now();
        let kept = &self.config().retention;
        let days = |days: u32| floor(now, TimeDelta::days(1)) - TimeDelta::days(i64::from(days));
        let cutoffs = Retention {
            minutes: days(kept.usage_minutes_days),
            violations: days(kept.violations_days),
            idempotency: now - IDEMPOTENCY_KEPT,
            secrets: days(kept.secrets_days),
            events: days(kept.usage_events_days),
            endpoints: days(kept.violations_days),
        };
        Ok(self.repository().clean_up(&cutoffs).await?)
    }

    /// Raises the quota counters of recently used keys to the database's totals: a counter that went back (a fail-over, a
    /// flush) is no miss that anybody would notice. Returns how many were looked at.
    pub async fn sync_quotas(&self) -> Result<usize, Error> {
        let now = self.clock().now();
        let period = BillingPeriod::containing(now);
        let totals = self.repository().period_totals(now - RECENTLY, period.start).await?;
        let mut known = Vec::with_capacity(totals.len());
        for (tenant_id, id, used) in totals {
            match self.entry(tenant_id, id).await {
                Ok(entry) => known.push((entry, used)),
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let period_start = entry::timestamp(period.start);
        let raises: Vec<_> = known.iter().filter_map(|(entry, used)| entry.raise(period_start, *used)).collect();
        self.limiter().raise(&raises, Timestamp::from_micros(now.timestamp_micros())).await?;
        Ok(raises.len())
    }

    /// True for exactly one of all workers that claim this tick of a schedule.
    pub async fn claim_tick(&self, schedule: &str, tick: DateTime<Utc>) -> Result<bool, Error> {
        Ok(self.repository().claim_tick(schedule, tick).await?)
    }
}

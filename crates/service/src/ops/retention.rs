//! Deletes rows that are past their retention, and records ticks of schedules.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::period::day_of;
use tollgate_repository::Retention;

use super::Ops;
use crate::Error;

/// A replayed response is kept for a day (API contract).
const IDEMPOTENCY_KEPT: TimeDelta = TimeDelta::hours(24);

impl Ops<'_> {
    /// Deletes rows that are past their retention, and returns how many.
    pub async fn clean_up(self) -> Result<u64, Error> {
        let now = self.0.clock().now();
        let kept = &self.0.config().retention;
        let days = |days: u32| day_of(now) - TimeDelta::days(i64::from(days));
        let cutoffs = Retention {
            minutes: days(kept.usage_minutes_days),
            violations: days(kept.violations_days),
            idempotency: now - IDEMPOTENCY_KEPT,
            secrets: days(kept.secrets_days),
            events: days(kept.usage_events_days),
            endpoints: days(kept.violations_days),
        };
        Ok(self.0.repository().clean_up(&cutoffs).await?)
    }

    /// The last claimed tick of a schedule; `None` when it has never run.
    pub async fn last_tick(self, schedule: &str) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.0.repository().schedules().last_tick(schedule).await?)
    }

    /// True for exactly one of all workers that claim this tick of a schedule.
    pub async fn claim_tick(self, schedule: &str, tick: DateTime<Utc>) -> Result<bool, Error> {
        Ok(self.0.repository().schedules().claim_tick(schedule, tick).await?)
    }
}

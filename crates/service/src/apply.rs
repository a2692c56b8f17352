//! What the jobs do. Each may run twice or out of order and is then without effect.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, TenantId,
    usage::{UsageBatch, ViolationBatch},
};
use tollgate_limiter::Timestamp;
use tollgate_repository::{Applied, FoldPart, Retention};

use crate::{Entry, Error, Service, entry, sums::floor};

/// Keys used within this time have their quota's counter raised.
const RECENTLY: TimeDelta = TimeDelta::minutes(1);
/// Minutes of keys that one run looks at. Of more keys the fold raises what it adds to.
const MAX_SYNCED: i64 = 5_000;
/// A replayed response is kept for a day (API contract).
const IDEMPOTENCY_KEPT: TimeDelta = TimeDelta::hours(24);

impl Service {
    /// Brings a batch of usage to the database, once.
    pub async fn apply_usage(&self, batch: &UsageBatch) -> Result<Applied, Error> {
        Ok(self.repository().apply_usage(batch).await?)
    }

    /// Adds a batch of violations to the database, once.
    pub async fn record_violations(&self, batch: &ViolationBatch) -> Result<Applied, Error> {
        Ok(self.repository().record_violations(batch).await?)
    }

    /// Parts of the keys whose usage waits to be added to the tables.
    pub async fn waiting_parts(&self) -> Result<Vec<FoldPart>, Error> {
        Ok(self.repository().waiting_parts().await?)
    }

    /// Adds what waits of a part of the keys to the tables, and raises their quotas' counters to what they come to.
    /// Returns how many keys that were.
    pub async fn fold_usage(&self, part: FoldPart) -> Result<usize, Error> {
        let totals = self.repository().fold_usage(part).await?;
        self.metrics().usage_folded.inc_by(u64::try_from(totals.len()).unwrap_or(u64::MAX));
        let now = self.clock().now();
        let period = BillingPeriod::containing(now);
        let of_period = totals.iter().filter(|total| total.period_start == period.start);
        let used: Vec<_> = of_period.map(|total| ((total.tenant_id, total.api_key_id), total.allowed)).collect();
        if let Err(error) = self.raise_quotas(&used, period, now).await {
            tracing::debug!(%error, "quota counters are raised with the next fold");
        }
        Ok(totals.len())
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
    /// flush) is no miss that anybody would notice. Returns how many keys that were.
    pub async fn sync_quotas(&self) -> Result<usize, Error> {
        let now = self.clock().now();
        let period = BillingPeriod::containing(now);
        let totals = self.repository().period_totals(now - RECENTLY, period.start, MAX_SYNCED).await?;
        let used: Vec<_> = totals.into_iter().map(|(tenant_id, id, used)| ((tenant_id, id), used)).collect();
        self.raise_quotas(&used, period, now).await?;
        Ok(used.len())
    }

    async fn raise_quotas(
        &self,
        used: &[((TenantId, ApiKeyId), i64)],
        period: BillingPeriod,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let keys: Vec<_> = used.iter().map(|(key, _)| *key).collect();
        let known = self.entries(&keys).await?;
        let period_start = entry::timestamp(period.start);
        let used: HashMap<_, _> = used.iter().copied().collect();
        let total = |entry: &Entry| used.get(&(entry.key.tenant_id, entry.key.id)).copied();
        let raises: Vec<_> = known.iter().filter_map(|entry| entry.raise(period_start, total(entry)?)).collect();
        Ok(self.limiter().raise(&raises, Timestamp::from_micros(now.timestamp_micros())).await?)
    }

    /// The last tick of a schedule that was claimed; `None` when it has never run.
    pub async fn last_tick(&self, schedule: &str) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.repository().last_tick(schedule).await?)
    }

    /// True for exactly one of all workers that claim this tick of a schedule.
    pub async fn claim_tick(&self, schedule: &str, tick: DateTime<Utc>) -> Result<bool, Error> {
        Ok(self.repository().claim_tick(schedule, tick).await?)
    }
}

//! The work of the jobs. Each may run twice or out of order, and then has no effect.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, TenantId,
    usage::{FoldPart, UsageBatch, ViolationBatch},
};
use tollgate_limiter::Timestamp;
use tollgate_repository::Applied;

use super::Metering;
use crate::{Error, KnownKey};

/// Keys that were used within this time get their quota's counter raised.
const RECENTLY: TimeDelta = TimeDelta::minutes(1);
/// Most key minutes that one run reads. For more keys, the fold raises the counters of those it adds to.
const MAX_SYNCED: i64 = 5_000;

impl Metering<'_> {
    /// Adds a batch of usage to the database, once.
    pub async fn apply(self, batch: &UsageBatch) -> Result<Applied, Error> {
        Ok(self.0.repository().usage().apply(batch).await?)
    }

    /// Adds a batch of violations to the database, once.
    pub async fn record_violations(self, batch: &ViolationBatch) -> Result<Applied, Error> {
        Ok(self.0.repository().violations().record(batch).await?)
    }

    /// The parts of the keys that have usage to add to the tables.
    pub async fn waiting_parts(self) -> Result<Vec<FoldPart>, Error> {
        Ok(self.0.repository().usage().waiting_parts().await?)
    }

    /// Adds the pending usage of a part of the keys to the tables, and raises their quotas' counters to the new
    /// totals. Returns the number of keys.
    pub async fn fold(self, part: FoldPart) -> Result<usize, Error> {
        let totals = self.0.repository().usage().fold(part, self.0.clock().now()).await?;
        self.0.metrics().usage_folded.inc_by(u64::try_from(totals.len()).unwrap_or(u64::MAX));
        let now = self.0.clock().now();
        let period = BillingPeriod::containing(now);
        let of_period = totals.iter().filter(|total| total.period_start == period.start);
        let used: Vec<_> = of_period.map(|total| ((total.tenant_id, total.api_key_id), total.allowed)).collect();
        if let Err(error) = self.raise_quotas(&used, period, now).await {
            tracing::debug!(%error, "quota counters are raised with the next fold");
        }
        Ok(totals.len())
    }

    /// Raises the quota counters of recently used keys to the database's totals, because nothing else would notice a
    /// counter that went back (a fail-over, a flush). Returns the number of keys.
    pub async fn sync_quotas(self) -> Result<usize, Error> {
        let now = self.0.clock().now();
        let period = BillingPeriod::containing(now);
        let totals = self.0.repository().usage().period_totals(now - RECENTLY, period.start, MAX_SYNCED).await?;
        let used: Vec<_> = totals.into_iter().map(|(tenant_id, id, used)| ((tenant_id, id), used)).collect();
        self.raise_quotas(&used, period, now).await?;
        Ok(used.len())
    }

    async fn raise_quotas(
        self,
        used: &[((TenantId, ApiKeyId), i64)],
        period: BillingPeriod,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let keys: Vec<_> = used.iter().map(|(key, _)| *key).collect();
        let known = self.0.checks().known_keys(&keys).await?;
        let period_start = crate::check::subject::timestamp(period.start);
        let used: HashMap<_, _> = used.iter().copied().collect();
        let total = |known_key: &KnownKey| used.get(&(known_key.key.tenant_id, known_key.key.id)).copied();
        let raises: Vec<_> = known
            .iter()
            .filter_map(|known_key| Some(known_key.counted.raises(period_start, total(known_key)?)))
            .flatten()
            .collect();
        Ok(self.0.limiter().raise(&raises, Timestamp::from_micros(now.timestamp_micros())).await?)
    }
}

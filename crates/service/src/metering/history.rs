//! What keys used: now, over time and against their plan.

use chrono::{DateTime, Datelike, Months, TimeDelta, Utc};
use tollgate_domain::{ApiKeyId, BillingPeriod, Currency, Granularity, Money, TenantId, usage::Counts};

use super::Metering;
use crate::{
    Error,
    keys::{KeyDetail, UsedKey},
};

/// Most buckets of a history: two years of hours would be 17,520.
const MAX_BUCKETS: usize = 2_000;

/// One bucket of a history.
pub type Bucket = (DateTime<Utc>, Counts);

/// The current billing period of a key.
#[derive(Clone, Debug)]
pub struct CurrentUsage {
    /// The key that was used.
    pub api_key_id: ApiKeyId,
    /// The start and the end of the period.
    pub period: BillingPeriod,
    /// Units by outcome in the period.
    pub counts: Counts,
    /// Units that the plan includes; `None` without a quota.
    pub limit: Option<u64>,
    /// Units that the plan still includes; after a change of plan within the period, the present one.
    pub remaining: Option<u64>,
    /// Units beyond the included ones.
    pub overage: u64,
    /// What the period costs if no further unit is used.
    pub cost: Money,
    /// The currency of `cost`.
    pub currency: Currency,
    /// When the key was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Everything before this time is counted, except the last two seconds at most.
    pub as_of: DateTime<Utc>,
}

/// A history without gaps.
#[derive(Clone, Debug)]
pub struct History {
    /// The first moment.
    pub start: DateTime<Utc>,
    /// The first moment after it.
    pub end: DateTime<Utc>,
    /// When the key was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Ascending; buckets without requests are zero.
    pub buckets: Vec<Bucket>,
    /// The sum of all buckets.
    pub summary: Counts,
}

impl Metering<'_> {
    /// What a key used in the current billing period, at most two seconds old.
    pub async fn current(self, tenant_id: TenantId, id: ApiKeyId) -> Result<CurrentUsage, Error> {
        let UsedKey { detail: KeyDetail { plan, .. }, deleted_at } =
            self.0.keys().get_even_deleted(tenant_id, id).await?;
        let now = self.0.clock().now();
        let period = BillingPeriod::containing(now);
        let (usage, bill) = self.0.billing().estimate(tenant_id, id, period).await?;
        let used = bill.units();
        // The quota in force is the present plan's; where plans changed within the period, each counts by its share.
        let (limit, remaining) = match bill.segments.as_slice() {
            [_] | [] => {
                let limit = plan.quota.as_ref().map(|quota| quota.limit);
                (limit, limit.map(|limit| limit.saturating_sub(used)))
            }
            [.., last] => (bill.quota()?, last.quota_left()?),
        };
        Ok(CurrentUsage {
            api_key_id: id,
            period,
            counts: usage.counts,
            limit,
            remaining,
            overage: bill.overage_units(),
            cost: bill.subtotal()?,
            currency: bill.currency,
            deleted_at,
            as_of: now,
        })
    }

    /// What a key used by hour, day or month. Default: the last 24 hours, 30 days or 12 months. `start` is rounded down
    /// and `end` up to whole buckets.
    pub async fn history(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        granularity: Granularity,
        start: Option<DateTime<Utc>>,
        end: Option<DateTime<Utc>>,
    ) -> Result<History, Error> {
        let UsedKey { deleted_at, .. } = self.0.keys().get_even_deleted(tenant_id, id).await?;
        let end = end.unwrap_or_else(|| self.0.clock().now());
        if start.is_some_and(|start| start >= end) {
            return Err(Error::BadRequest("start_date must lie before end_date".into()));
        }
        let last = granularity.bucket_of(end - TimeDelta::microseconds(1));
        let start = start.map_or_else(|| back(last, granularity), |at| granularity.bucket_of(at));
        let end = next(last, granularity);
        if !within(start, end, granularity) {
            return Err(Error::BadRequest(format!(
                "at most {MAX_BUCKETS} buckets: shorten the period or coarsen granularity"
            )));
        }
        let found = self.0.repository().usage().series(tenant_id, id, granularity, start, end).await?;
        let buckets = fill(&found, granularity, start, end);
        let mut summary = Counts::default();
        buckets.iter().for_each(|(_, counts)| summary.add(counts));
        Ok(History { start, end, deleted_at, buckets, summary })
    }
}

/// Adds a bucket of zeros wherever `found` has none. `found` is ascending.
pub(crate) fn fill(found: &[Bucket], granularity: Granularity, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Bucket> {
    let mut found = found.iter().peekable();
    let mut buckets = Vec::new();
    let mut at = from;
    while at < to && buckets.len() <= MAX_BUCKETS {
        let hit = found.next_if(|(start, _)| *start <= at);
        buckets.push((at, hit.map_or_else(Counts::default, |(_, counts)| *counts)));
        at = next(at, granularity);
    }
    buckets
}

fn next(at: DateTime<Utc>, granularity: Granularity) -> DateTime<Utc> {
    match granularity {
        Granularity::Hourly => at + TimeDelta::hours(1),
        Granularity::Daily => at + TimeDelta::days(1),
        Granularity::Monthly => BillingPeriod::containing(at).end,
    }
}

/// The start of a default history that ends with the bucket `last`.
fn back(last: DateTime<Utc>, granularity: Granularity) -> DateTime<Utc> {
    match granularity {
        Granularity::Hourly => last - TimeDelta::hours(23),
        Granularity::Daily => last - TimeDelta::days(29),
        Granularity::Monthly => last.checked_sub_months(Months::new(11)).unwrap_or(last),
    }
}

fn within(start: DateTime<Utc>, end: DateTime<Utc>, granularity: Granularity) -> bool {
    let most = i64::try_from(MAX_BUCKETS).unwrap_or(i64::MAX);
    match granularity {
        Granularity::Hourly => (end - start).num_hours() <= most,
        Granularity::Daily => (end - start).num_days() <= most,
        Granularity::Monthly => i64::from(end.year() - start.year()) * 12 <= most,
    }
}

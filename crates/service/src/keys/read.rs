//! Reads keys: one, a page, and the activity of one.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKey, ApiKeyId, Granularity, KeyFilter, KeySecret, Page, Paged, Plan, TenantId, UsageStats,
    period::{day_of, hour_of},
    text,
    usage::Counts,
};

use super::{KEY, Keys};
use crate::{
    Error,
    keys::{KeyDetail, UsedKey},
};

/// The activity of a key.
#[derive(Clone, Debug)]
pub struct KeyStats {
    /// When it was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Totals since the key was created.
    pub totals: UsageStats,
    /// Sums of the last 24 hours.
    pub last_24_hours: Counts,
    /// The last 24 hours, each with its start; hours without requests are zero.
    pub hours: Vec<(DateTime<Utc>, Counts)>,
    /// Endpoints of the last 30 days by units, the busiest first, at most ten.
    pub top_endpoints: Vec<(String, i64)>,
    /// Refusals by limits in the last 24 hours.
    pub violations: i64,
}

impl Keys<'_> {
    /// One key.
    pub async fn get(self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyDetail, Error> {
        let found = self.0.repository().keys().with_plan(tenant_id, id, self.0.clock().now()).await?;
        found.map(|found| KeyDetail { key: found.key, plan: found.plan }).ok_or(Error::NotFound(KEY))
    }

    /// One key, even a deleted one, because its usage stays readable.
    pub async fn get_even_deleted(self, tenant_id: TenantId, id: ApiKeyId) -> Result<UsedKey, Error> {
        let found = self.0.repository().keys().with_plan_even_deleted(tenant_id, id).await?;
        let (key, plan, deleted_at) = found.ok_or(Error::NotFound(KEY))?;
        Ok(UsedKey { detail: KeyDetail { key, plan }, deleted_at })
    }

    /// A page of the keys that match `filter`.
    pub async fn list(self, tenant_id: TenantId, filter: &KeyFilter, page: Page) -> Result<Paged<KeyDetail>, Error> {
        let texts =
            [("tier", &filter.tier), ("owner_id", &filter.owner_id), ("tag", &filter.tag), ("search", &filter.search)];
        if let Some((name, _)) = texts.into_iter().find(|(_, text)| !text::FILTER.fit_any(text.as_deref())) {
            return Err(Error::BadRequest(format!("{name} must be {}", text::FILTER)));
        }
        let Paged { items, total } =
            self.0.repository().keys().list(tenant_id, filter, page, self.0.clock().now()).await?;
        let mut plans: HashMap<String, Plan> = HashMap::new();
        let mut details = Vec::with_capacity(items.len());
        for key in items {
            let plan = match plans.get(&key.tier) {
                Some(plan) => plan.clone(),
                None => {
                    let plan = self.plan_of(&key).await?;
                    plans.insert(key.tier.clone(), plan.clone());
                    plan
                }
            };
            details.push(KeyDetail { key, plan });
        }
        Ok(Paged { items: details, total })
    }

    /// The record of the key whose text is `secret`.
    pub async fn by_secret(self, tenant_id: TenantId, secret: &str) -> Result<KeyDetail, Error> {
        let hash = KeySecret::hash_of(secret).ok_or(Error::NotFound(KEY))?;
        let found = self.0.repository().keys().by_secret(&hash, self.0.clock().now()).await?;
        let own = found.filter(|found| found.key.tenant_id == tenant_id);
        own.map(|found| KeyDetail { key: found.key, plan: found.plan }).ok_or(Error::NotFound(KEY))
    }

    /// The id of the key whose text is `secret`.
    pub async fn id_of(self, tenant_id: TenantId, secret: &str) -> Result<ApiKeyId, Error> {
        Ok(self.by_secret(tenant_id, secret).await?.key.id)
    }

    /// Totals for the record of one key.
    pub async fn usage(self, tenant_id: TenantId, id: ApiKeyId) -> Result<UsageStats, Error> {
        Ok(self.0.repository().usage().stats(tenant_id, id, self.0.clock().now()).await?)
    }

    /// The activity of a key: totals, the last day by hour, its busiest endpoints, its violations.
    pub async fn stats(self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyStats, Error> {
        let UsedKey { deleted_at, .. } = self.get_even_deleted(tenant_id, id).await?;
        let now = self.0.clock().now();
        let hour = TimeDelta::hours(1);
        let (from, to) = (hour_of(now) - hour * 23, hour_of(now) + hour);
        let series = self.0.repository().usage().series(tenant_id, id, Granularity::Hourly, from, to).await?;
        let hours = crate::metering::history::fill(&series, Granularity::Hourly, from, to);
        let mut last_24_hours = Counts::default();
        hours.iter().for_each(|(_, counts)| last_24_hours.add(counts));
        let month = day_of(now) - TimeDelta::days(29);
        Ok(KeyStats {
            deleted_at,
            totals: self.0.repository().usage().stats(tenant_id, id, now).await?,
            last_24_hours,
            hours,
            top_endpoints: self.0.repository().usage().top_endpoints(tenant_id, id, month, 10).await?,
            violations: self.0.repository().violations().count(tenant_id, id, now - TimeDelta::days(1)).await?,
        })
    }

    async fn plan_of(self, key: &ApiKey) -> Result<Plan, Error> {
        let plan = self.0.repository().plans().by_name(key.tenant_id, &key.tier).await?;
        plan.ok_or_else(|| Error::Internal(format!("the key {} is on a plan that does not exist", key.id)))
    }
}

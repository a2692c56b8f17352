//! Keys: created, listed, changed, rotated, suspended, deleted.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tollgate_domain::{
    ApiKey, ApiKeyId, Environment, Granularity, Invalid, KeyFilter, KeySecret, KeyStatus, LimitSpec, Page, Paged, Plan,
    Suspension, TenantId, UsageStats,
    api_key::{NO_SUCH_PLAN, StaysRevoked},
    country, expiry, network,
    period::{day_of, hour_of},
    text,
    usage::Counts,
};

use crate::{Error, Service};

const KEY: &str = "API key";
/// Longest grace of a rotated secret and longest suspension with an end.
const MAX_GRACE: TimeDelta = TimeDelta::days(30);
const MAX_SUSPENSION: TimeDelta = TimeDelta::days(3_660);

/// A key to be made. Members as in `POST /api/v1/api-keys`.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members are those of ApiKey")]
pub struct NewApiKey {
    pub name: String,
    pub tier: String,
    pub description: Option<String>,
    pub environment: Environment,
    pub owner_id: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub allowed_ips: Vec<String>,
    pub allowed_countries: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub limits: Vec<LimitSpec>,
}

/// A change: what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members are those of ApiKey")]
pub struct ApiKeyChange {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub tier: Option<String>,
    pub status: Option<KeyStatus>,
    pub owner_id: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
    pub metadata: Option<Map<String, Value>>,
    pub allowed_ips: Option<Vec<String>>,
    pub allowed_countries: Option<Vec<String>>,
    pub expires_at: Option<Option<DateTime<Utc>>>,
    pub limits: Option<Vec<LimitSpec>>,
}

/// A key with the plan it is on.
#[derive(Clone, Debug)]
pub struct KeyDetail {
    /// The record.
    pub key: ApiKey,
    /// Its plan.
    pub plan: Plan,
}

/// A key whose usage is asked for: also one that was deleted.
#[derive(Clone, Debug)]
pub struct UsedKey {
    /// The record and its plan.
    pub detail: KeyDetail,
    /// When it was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// What a key did.
#[derive(Clone, Debug)]
pub struct KeyStats {
    /// When it was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Totals since it was made.
    pub totals: UsageStats,
    /// Sums of the last 24 hours.
    pub last_24_hours: Counts,
    /// The last 24 hours, each with its start; hours without requests are zero.
    pub hours: Vec<(DateTime<Utc>, Counts)>,
    /// Endpoints of the last 30 days by units, most first, ten at most.
    pub top_endpoints: Vec<(String, i64)>,
    /// Refusals by limits in the last 24 hours.
    pub violations: i64,
}

impl KeyDetail {
    /// The limits in force; the first is the one shown as the key's `rate_limit`.
    pub fn limits(&self) -> Vec<LimitSpec> {
        self.key.effective_limits(&self.plan.limits)
    }
}

impl Service {
    /// Makes a key. Its secret is returned this once.
    pub async fn create_key(&self, tenant_id: TenantId, new: NewApiKey) -> Result<(KeyDetail, KeySecret), Error> {
        let now = self.clock().now();
        let secret = KeySecret::generate(new.environment)?;
        let mut invalid = Invalid::none();
        let key = ApiKey {
            id: ApiKeyId(self.clock().new_id()),
            tenant_id,
            key_prefix: secret.prefix(),
            name: new.name,
            description: new.description,
            tier: new.tier,
            environment: new.environment,
            status: KeyStatus::Active,
            suspension: None,
            owner_id: new.owner_id,
            tags: new.tags,
            metadata: new.metadata,
            allowed_ips: network::read_list(&new.allowed_ips, &mut invalid),
            allowed_countries: country::read_list(&new.allowed_countries, &mut invalid),
            expires_at: new.expires_at,
            limits: new.limits,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        expiry::require_future(key.expires_at, now, &mut invalid);
        let plan = self.repository().plans().by_name(tenant_id, &key.tier).await?;
        if let Err(invalid) = key.validate(plan.as_ref(), invalid) {
            return Err(self.with_plan_names(tenant_id, invalid.into()).await);
        }
        let key = self.repository().keys().insert(tenant_id, &key, &secret.hash()).await?;
        let plan = plan.ok_or_else(|| Error::Internal("a key was made on no plan".into()))?;
        Ok((KeyDetail { key, plan }, secret))
    }

    /// One key.
    pub async fn key(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyDetail, Error> {
        let found = self.repository().keys().with_plan(tenant_id, id, self.clock().now()).await?;
        found.map(|found| KeyDetail { key: found.key, plan: found.plan }).ok_or(Error::NotFound(KEY))
    }

    /// One key, also a deleted one: what it used stays readable by its id.
    pub async fn used_key(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<UsedKey, Error> {
        let found = self.repository().keys().with_plan_even_deleted(tenant_id, id).await?;
        let (key, plan, deleted_at) = found.ok_or(Error::NotFound(KEY))?;
        Ok(UsedKey { detail: KeyDetail { key, plan }, deleted_at })
    }

    /// Keys that match `filter`.
    pub async fn keys(&self, tenant_id: TenantId, filter: &KeyFilter, page: Page) -> Result<Paged<KeyDetail>, Error> {
        let texts =
            [("tier", &filter.tier), ("owner_id", &filter.owner_id), ("tag", &filter.tag), ("search", &filter.search)];
        if let Some((name, _)) = texts.into_iter().find(|(_, text)| !text::FILTER.fit_any(text.as_deref())) {
            return Err(Error::BadRequest(format!("{name} must be {}", text::FILTER)));
        }
        let Paged { items, total } = self.repository().keys().list(tenant_id, filter, page, self.clock().now()).await?;
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
    pub async fn lookup_key(&self, tenant_id: TenantId, secret: &str) -> Result<KeyDetail, Error> {
        let hash = KeySecret::hash_of(secret).ok_or(Error::NotFound(KEY))?;
        let found = self.repository().keys().by_secret(&hash, self.clock().now()).await?;
        let own = found.filter(|found| found.key.tenant_id == tenant_id);
        own.map(|found| KeyDetail { key: found.key, plan: found.plan }).ok_or(Error::NotFound(KEY))
    }

    /// Changes a key; with `expected`, only if that is its version.
    pub async fn update_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        change: &ApiKeyChange,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        if change.status == Some(KeyStatus::Expired) {
            return Err(
                Invalid::field("/status", "\"active\", \"suspended\" or \"revoked\"; set expires_at instead").into()
            );
        }
        let now = self.clock().now();
        let changed = self.change_key(tenant_id, id, expected, change.tier.as_deref(), |key, _, invalid| {
            if let Some(status) = change.status {
                key.set_status(status, None).map_err(conflict)?;
            }
            apply(key, change, invalid);
            // One that is past ends the key now.
            let is_near = change.expires_at.flatten().is_none_or(|at| expiry::is_within_a_century(at, now));
            invalid.require(is_near, "/expires_at", "must lie within 100 years of now");
            Ok(())
        });
        changed.await
    }

    /// Suspends a key, for `seconds` or until it is resumed; with `expected`, only if that is its version.
    pub async fn suspend_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        seconds: Option<u64>,
        reason: Option<String>,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        let mut invalid = Invalid::none();
        let most = MAX_SUSPENSION.num_seconds().unsigned_abs();
        invalid.require(
            seconds.is_none_or(|s| (1..=most).contains(&s)),
            "/seconds",
            format!("null, or from 1 to {most}"),
        );
        invalid.require(text::DESCRIPTION.fit_any(reason.as_deref()), "/reason", text::DESCRIPTION);
        invalid.finish()?;
        let until = seconds.map(|s| self.clock().now() + TimeDelta::seconds(i64::try_from(s).unwrap_or(0)));
        let changed = self.change_key(tenant_id, id, expected, None, |key, _, _| {
            key.set_status(KeyStatus::Suspended, Some(Suspension { until, reason: reason.clone() })).map_err(conflict)
        });
        changed.await
    }

    /// Ends a suspension; with `expected`, only if that is the key's version.
    pub async fn resume_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        let changed = self.change_key(tenant_id, id, expected, None, |key, _, _| {
            key.set_status(KeyStatus::Active, None).map_err(conflict)
        });
        changed.await
    }

    /// A new secret for the same key; the old one works for `grace_seconds` more. With `expected`, only if that is the key's
    /// version.
    pub async fn rotate_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        grace_seconds: u64,
        expected: Option<i64>,
    ) -> Result<(KeyDetail, KeySecret), Error> {
        let most = MAX_GRACE.num_seconds().unsigned_abs();
        let grace = i64::try_from(grace_seconds).ok().filter(|_| grace_seconds <= most);
        let grace = grace.ok_or_else(|| Invalid::field("/grace_seconds", format!("from 0 to {most}")))?;
        let now = self.clock().now();
        let rotated = self.repository().keys().rotate(tenant_id, id, now, now + TimeDelta::seconds(grace), |key| {
            require_version(expected, key.version)?;
            if key.status == KeyStatus::Revoked {
                return Err(Error::Conflict("a revoked key cannot be rotated".into()));
            }
            Ok(KeySecret::generate(key.environment)?)
        });
        let (key, plan, secret) = rotated.await?.ok_or(Error::NotFound(KEY))?;
        self.cache().forget([id]);
        Ok((KeyDetail { key, plan }, secret))
    }

    /// Revokes a key at once and hides it; with `expected`, only if that is its version. Its usage stays.
    pub async fn delete_key(&self, tenant_id: TenantId, id: ApiKeyId, expected: Option<i64>) -> Result<(), Error> {
        let check = |key: &ApiKey| require_version(expected, key.version);
        let deleted = self.repository().keys().delete(tenant_id, id, self.clock().now(), check).await?;
        self.cache().forget([id]);
        deleted.then_some(()).ok_or(Error::NotFound(KEY))
    }

    /// Totals for the record of one key.
    pub async fn key_usage(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<UsageStats, Error> {
        Ok(self.repository().usage().stats(tenant_id, id, self.clock().now()).await?)
    }

    /// What a key did: totals, the last day by hour, its busiest endpoints, its violations.
    pub async fn key_stats(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyStats, Error> {
        let UsedKey { deleted_at, .. } = self.used_key(tenant_id, id).await?;
        let now = self.clock().now();
        let hour = TimeDelta::hours(1);
        let (from, to) = (hour_of(now) - hour * 23, hour_of(now) + hour);
        let series = self.repository().usage().series(tenant_id, id, Granularity::Hourly, from, to).await?;
        let hours = crate::usage::fill(&series, Granularity::Hourly, from, to);
        let mut last_24_hours = Counts::default();
        hours.iter().for_each(|(_, counts)| last_24_hours.add(counts));
        let month = day_of(now) - TimeDelta::days(29);
        Ok(KeyStats {
            deleted_at,
            totals: self.repository().usage().stats(tenant_id, id, now).await?,
            last_24_hours,
            hours,
            top_endpoints: self.repository().usage().top_endpoints(tenant_id, id, month, 10).await?,
            violations: self.repository().violations().count(tenant_id, id, now - TimeDelta::days(1)).await?,
        })
    }

    /// Changes a key as it stands, with the plan it is on afterwards: the one that `tier` names, if it is given.
    pub(crate) async fn change_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        expected: Option<i64>,
        tier: Option<&str>,
        change: impl Fn(&mut ApiKey, Option<&Plan>, &mut Invalid) -> Result<(), Error>,
    ) -> Result<KeyDetail, Error> {
        let now = self.clock().now();
        let changed = self.repository().keys().change(tenant_id, id, tier, |key, plan| {
            require_version(expected, key.version)?;
            let mut invalid = Invalid::none();
            change(key, plan, &mut invalid)?;
            key.validate(plan, invalid)?;
            key.updated_at = now;
            Ok(())
        });
        let changed = match changed.await {
            Err(error) => return Err(self.with_plan_names(tenant_id, error).await),
            Ok(changed) => changed,
        };
        let (key, plan) = changed.ok_or(Error::NotFound(KEY))?;
        self.cache().forget([id]);
        Ok(KeyDetail { key, plan })
    }

    /// The error, which names the plans that there are where it says that there is none of a name.
    async fn with_plan_names(&self, tenant_id: TenantId, error: Error) -> Error {
        let Error::Invalid(mut invalid) = error else { return error };
        if let Some(of_tier) = invalid.errors.iter_mut().find(|wrong| wrong.detail == NO_SUCH_PLAN) {
            match self.repository().plans().list(tenant_id, Page { page: 1, limit: 100 }).await {
                Ok(known) => {
                    let names: Vec<_> = known.items.iter().map(|plan| plan.name.as_str()).collect();
                    of_tier.detail = format!("{NO_SUCH_PLAN}; there are {}", names.join(", "));
                }
                Err(error) => return error.into(),
            }
        }
        invalid.into()
    }

    async fn plan_of(&self, key: &ApiKey) -> Result<Plan, Error> {
        let plan = self.repository().plans().by_name(key.tenant_id, &key.tier).await?;
        plan.ok_or_else(|| Error::Internal(format!("the key {} is on a plan that does not exist", key.id)))
    }
}

fn apply(key: &mut ApiKey, change: &ApiKeyChange, invalid: &mut Invalid) {
    macro_rules! set {
        ($($field:ident),+) => { $( if let Some(value) = &change.$field { key.$field.clone_from(value); } )+ };
    }
    set!(name, description, tier, owner_id, tags, metadata, expires_at, limits);
    if let Some(allowed) = &change.allowed_ips {
        key.allowed_ips = network::read_list(allowed, invalid);
    }
    if let Some(allowed) = &change.allowed_countries {
        key.allowed_countries = country::read_list(allowed, invalid);
    }
}

fn conflict(revoked: StaysRevoked) -> Error {
    Error::Conflict(revoked.to_string())
}

/// `If-Match`: the version must be the expected one, if one is.
pub(crate) fn require_version(expected: Option<i64>, current: i64) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != current => Err(Error::VersionMismatch { current }),
        _ => Ok(()),
    }
}

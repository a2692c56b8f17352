//! Keys: created, listed, changed, rotated, suspended, deleted.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tollgate_domain::{
    ApiKey, ApiKeyId, Country, Environment, Invalid, KeySecret, KeyStatus, LimitSpec, Network, Plan, Suspension,
    TenantId, usage::Counts,
};
use tollgate_repository::{Granularity, KeyFilter, Page, Paged, UsageStats};

use crate::{Error, Service, sums::floor};

const KEY: &str = "API key";
/// How often a change is tried again when another one came between reading and writing.
const CHANGE_TRIES: u32 = 8;
/// Most entries of a key's lists.
const MOST_NETWORKS: usize = 100;
const MOST_COUNTRIES: usize = 250;
/// Longest grace of a rotated secret and longest suspension with an end.
const MOST_GRACE: TimeDelta = TimeDelta::days(30);
const MOST_SUSPENSION: TimeDelta = TimeDelta::days(3_660);

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

/// What a key did.
#[derive(Clone, Debug)]
pub struct KeyStats {
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
            allowed_ips: networks(&new.allowed_ips, &mut invalid),
            allowed_countries: countries(&new.allowed_countries, &mut invalid),
            expires_at: new.expires_at,
            limits: new.limits,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        if key.expires_at.is_some_and(|at| at <= now) {
            invalid.push("/expires_at", "must lie in the future");
        }
        let plan = self.validated(&key, invalid).await?;
        let key = self.repository().insert_api_key(tenant_id, &key, &secret.hash()).await?;
        Ok((KeyDetail { key, plan }, secret))
    }

    /// One key.
    pub async fn key(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyDetail, Error> {
        let found = self.repository().key_and_plan(tenant_id, id, self.clock().now()).await?;
        found.map(|found| KeyDetail { key: found.key, plan: found.plan }).ok_or(Error::NotFound(KEY))
    }

    /// Keys that match `filter`.
    pub async fn keys(&self, tenant_id: TenantId, filter: &KeyFilter, page: Page) -> Result<Paged<KeyDetail>, Error> {
        let texts = [&filter.tier, &filter.owner_id, &filter.tag, &filter.search];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(Error::BadRequest("a filter may not hold a NUL character".into()));
        }
        let Paged { items, total } = self.repository().api_keys(tenant_id, filter, page, self.clock().now()).await?;
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
        let found = self.repository().find_by_secret(&hash, self.clock().now()).await?;
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
        self.change_key(tenant_id, id, expected, |key, invalid| {
            if let Some(status) = change.status {
                set_status(key, status, None)?;
            }
            apply(key, change, invalid);
            Ok(())
        })
        .await
    }

    /// Suspends a key, for `seconds` or until it is resumed.
    pub async fn suspend_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        seconds: Option<u64>,
        reason: Option<String>,
    ) -> Result<KeyDetail, Error> {
        let mut invalid = Invalid::none();
        let most = MOST_SUSPENSION.num_seconds().unsigned_abs();
        invalid.require(
            seconds.is_none_or(|s| (1..=most).contains(&s)),
            "/seconds",
            format!("null, or from 1 to {most}"),
        );
        let short = reason.as_ref().is_none_or(|r| r.chars().count() <= 500);
        invalid.require(short, "/reason", "at most 500 characters");
        invalid.finish()?;
        let until = seconds.map(|s| self.clock().now() + TimeDelta::seconds(i64::try_from(s).unwrap_or(0)));
        self.change_key(tenant_id, id, None, |key, _| {
            set_status(key, KeyStatus::Suspended, Some(Suspension { until, reason: reason.clone() }))
        })
        .await
    }

    /// Ends a suspension.
    pub async fn resume_key(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyDetail, Error> {
        self.change_key(tenant_id, id, None, |key, _| set_status(key, KeyStatus::Active, None)).await
    }

    /// A new secret for the same key; the old one works for `grace_seconds` more.
    pub async fn rotate_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        grace_seconds: u64,
    ) -> Result<(KeyDetail, KeySecret), Error> {
        let most = MOST_GRACE.num_seconds().unsigned_abs();
        let grace = i64::try_from(grace_seconds).ok().filter(|_| grace_seconds <= most);
        let grace = grace.ok_or_else(|| Invalid::field("/grace_seconds", format!("from 0 to {most}")))?;
        for _ in 0..CHANGE_TRIES {
            let KeyDetail { mut key, plan } = self.key(tenant_id, id).await?;
            if key.status == KeyStatus::Revoked {
                return Err(Error::Conflict("a revoked key cannot be rotated".into()));
            }
            let now = self.clock().now();
            let secret = KeySecret::generate(key.environment)?;
            key.key_prefix = secret.prefix();
            key.updated_at = now;
            let ends = now + TimeDelta::seconds(grace);
            if let Some(key) = self.repository().rotate_api_key(tenant_id, &key, &secret.hash(), ends).await? {
                self.cache().forget(|entry| entry.key.id == id);
                return Ok((KeyDetail { key, plan }, secret));
            }
        }
        Err(Error::Conflict("the key is being changed by others; try again".into()))
    }

    /// Revokes a key at once and hides it. Its usage stays.
    pub async fn delete_key(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<(), Error> {
        let deleted = self.repository().delete_api_key(tenant_id, id, self.clock().now()).await?;
        self.cache().forget(|entry| entry.key.id == id);
        deleted.then_some(()).ok_or(Error::NotFound(KEY))
    }

    /// Totals for the record of one key.
    pub async fn key_usage(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<UsageStats, Error> {
        Ok(self.repository().usage_stats(tenant_id, id, self.clock().now()).await?)
    }

    /// What a key did: totals, the last day by hour, its busiest endpoints, its violations.
    pub async fn key_stats(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<KeyStats, Error> {
        self.key(tenant_id, id).await?;
        let now = self.clock().now();
        let hour = TimeDelta::hours(1);
        let (from, to) = (floor(now, hour) - hour * 23, floor(now, hour) + hour);
        let series = self.repository().usage_series(tenant_id, id, Granularity::Hourly, from, to).await?;
        let hours = crate::usage::fill(&series, Granularity::Hourly, from, to);
        let mut last_24_hours = Counts::default();
        hours.iter().for_each(|(_, counts)| last_24_hours.add(counts));
        let month = floor(now, TimeDelta::days(1)) - TimeDelta::days(29);
        Ok(KeyStats {
            totals: self.repository().usage_stats(tenant_id, id, now).await?,
            last_24_hours,
            hours,
            top_endpoints: self.repository().top_endpoints(tenant_id, id, month, 10).await?,
            violations: self.repository().violation_count(tenant_id, id, now - TimeDelta::days(1)).await?,
        })
    }

    async fn change_key(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        expected: Option<i64>,
        change: impl Fn(&mut ApiKey, &mut Invalid) -> Result<(), Error>,
    ) -> Result<KeyDetail, Error> {
        for _ in 0..CHANGE_TRIES {
            let mut key = self.repository().api_key(tenant_id, id).await?.ok_or(Error::NotFound(KEY))?;
            if expected.is_some_and(|expected| expected != key.version) {
                return Err(Error::VersionMismatch { current: key.version });
            }
            let mut invalid = Invalid::none();
            change(&mut key, &mut invalid)?;
            let plan = self.validated(&key, invalid).await?;
            key.updated_at = self.clock().now();
            if let Some(key) = self.repository().update_api_key(tenant_id, &key).await? {
                self.cache().forget(|entry| entry.key.id == id);
                return Ok(KeyDetail { key, plan });
            }
        }
        Err(Error::Conflict("the key is being changed by others; try again".into()))
    }

    /// The plan of a key all of whose fields are right; else every wrong one is named.
    async fn validated(&self, key: &ApiKey, mut invalid: Invalid) -> Result<Plan, Error> {
        validate(key, &mut invalid);
        let plan = self.repository().plan_named(key.tenant_id, &key.tier).await?;
        let Some(plan) = plan else {
            let known = self.repository().plans(key.tenant_id, Page { page: 1, limit: 100 }).await?;
            let names: Vec<_> = known.items.iter().map(|plan| plan.name.as_str()).collect();
            invalid.push("/tier", format!("no such plan; there are {}", names.join(", ")));
            return Err(invalid.into());
        };
        let limits = key.effective_limits(&plan.limits).len();
        let most = tollgate_domain::limit::MAX_LIMITS;
        invalid.require(limits <= most, "/limits", format!("at most {most} together with the plan's"));
        invalid.finish()?;
        Ok(plan)
    }

    async fn plan_of(&self, key: &ApiKey) -> Result<Plan, Error> {
        let plan = self.repository().plan_named(key.tenant_id, &key.tier).await?;
        plan.ok_or_else(|| Error::Internal(format!("the key {} is on a plan that does not exist", key.id)))
    }
}

fn apply(key: &mut ApiKey, change: &ApiKeyChange, invalid: &mut Invalid) {
    macro_rules! set {
        ($($field:ident),+) => { $( if let Some(value) = &change.$field { key.$field.clone_from(value); } )+ };
    }
    set!(name, description, tier, owner_id, tags, metadata, expires_at, limits);
    if let Some(allowed) = &change.allowed_ips {
        key.allowed_ips = networks(allowed, invalid);
    }
    if let Some(allowed) = &change.allowed_countries {
        key.allowed_countries = countries(allowed, invalid);
    }
}

fn set_status(key: &mut ApiKey, status: KeyStatus, suspension: Option<Suspension>) -> Result<(), Error> {
    if key.status == KeyStatus::Revoked && status != KeyStatus::Revoked {
        return Err(Error::Conflict("a revoked key stays revoked; make a new one".into()));
    }
    let open_end = || Suspension { until: None, reason: None };
    key.suspension = (status == KeyStatus::Suspended).then(|| suspension.unwrap_or_else(open_end));
    key.status = status;
    Ok(())
}

fn networks(texts: &[String], invalid: &mut Invalid) -> Vec<Network> {
    each(texts, MOST_NETWORKS, "/allowed_ips", invalid)
}

fn countries(texts: &[String], invalid: &mut Invalid) -> Vec<Country> {
    each(texts, MOST_COUNTRIES, "/allowed_countries", invalid)
}

/// Every text read, or named where it cannot be; none of a list of more than `most`.
fn each<T: FromStr<Err: Display>>(texts: &[String], most: usize, pointer: &str, invalid: &mut Invalid) -> Vec<T> {
    invalid.require(texts.len() <= most, pointer, format_args!("at most {most}"));
    let mut read = Vec::new();
    for (index, text) in texts.iter().take(most).enumerate() {
        match text.parse::<T>() {
            Ok(item) => read.push(item),
            Err(wrong) => invalid.push(format!("{pointer}/{index}"), wrong.to_string()),
        }
    }
    read
}

fn validate(key: &ApiKey, invalid: &mut Invalid) {
    let clean = |text: &str| !text.chars().any(char::is_control);
    let chars = |text: &str| text.chars().count();
    let name = !key.name.trim().is_empty() && chars(&key.name) <= 255 && clean(&key.name);
    invalid.require(name, "/name", "1 to 255 characters, no control characters");
    let description = key.description.as_deref().is_none_or(|d| chars(d) <= 500 && !d.contains('\0'));
    invalid.require(description, "/description", "at most 500 characters, no NUL");
    let owner = key.owner_id.as_deref().is_none_or(|o| (1..=255).contains(&o.len()) && clean(o));
    invalid.require(owner, "/owner_id", "1 to 255 bytes, no control characters");
    invalid.require(key.tags.len() <= 20, "/tags", "at most 20");
    for (index, tag) in key.tags.iter().enumerate() {
        let fits = (1..=50).contains(&chars(tag)) && clean(tag) && !key.tags.iter().take(index).any(|t| t == tag);
        invalid.require(fits, &format!("/tags/{index}"), "1 to 50 characters, each tag once");
    }
    // PostgreSQL's jsonb holds no NUL.
    let small = |json: String| json.len() <= 8_192 && !json.contains("\\u0000");
    let metadata = key.metadata.len() <= 50 && serde_json::to_string(&key.metadata).is_ok_and(small);
    invalid.require(metadata, "/metadata", "at most 50 members and 8192 bytes of JSON, no NUL");
    LimitSpec::validate_all(&key.limits, "/limits", invalid);
}

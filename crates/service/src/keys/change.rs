//! Creates and changes keys.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tollgate_domain::{
    ApiKey, ApiKeyId, Environment, Invalid, KeySecret, KeyStatus, LimitSpec, Money, Page, Plan, TenantId,
    api_key::NO_SUCH_PLAN, country, expiry, network,
};

use super::{KEY, Keys, state::conflict};
use crate::{
    Error,
    keys::{KeyDetail, require_version},
};

/// A key to create. The members are those of `POST /api/v1/api-keys`.
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
    pub spend_cap: Option<Money>,
}

/// A change of a key; `None` keeps the present value.
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
    pub spend_cap: Option<Option<Money>>,
}

impl Keys<'_> {
    /// Creates a key. Only this call returns its secret.
    pub async fn create(self, tenant_id: TenantId, new: NewApiKey) -> Result<(KeyDetail, KeySecret), Error> {
        let now = self.0.clock().now();
        let secret = KeySecret::generate(new.environment)?;
        let mut invalid = Invalid::none();
        let key = ApiKey {
            id: ApiKeyId(self.0.clock().new_id()),
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
            spend_cap: new.spend_cap,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        expiry::require_future(key.expires_at, now, &mut invalid);
        let plan = self.0.repository().plans().by_name(tenant_id, &key.tier).await?;
        if let Err(invalid) = key.validate(plan.as_ref(), invalid) {
            return Err(self.with_plan_names(tenant_id, invalid.into()).await);
        }
        let key = self.0.repository().keys().insert(tenant_id, &key, &secret.hash()).await?;
        let plan = plan.ok_or_else(|| Error::Internal("a key was made on no plan".into()))?;
        Ok((KeyDetail { key, plan }, secret))
    }

    /// Changes a key; with `expected`, only if that is its version.
    pub async fn update(
        self,
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
        let now = self.0.clock().now();
        let changed = self.change(tenant_id, id, expected, change.tier.as_deref(), |key, _, invalid| {
            if let Some(status) = change.status {
                key.set_status(status, None).map_err(conflict)?;
            }
            apply(key, change, invalid);
            // A time in the past ends the key now.
            let is_near = change.expires_at.flatten().is_none_or(|at| expiry::is_within_a_century(at, now));
            invalid.require(is_near, "/expires_at", "must lie within 100 years of now");
            Ok(())
        });
        changed.await
    }

    /// Changes a key on the plan that it will have: the one that `tier` names, if given.
    pub(crate) async fn change(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        expected: Option<i64>,
        tier: Option<&str>,
        change: impl Fn(&mut ApiKey, Option<&Plan>, &mut Invalid) -> Result<(), Error>,
    ) -> Result<KeyDetail, Error> {
        let now = self.0.clock().now();
        let changed = self.0.repository().keys().change(tenant_id, id, tier, |key, plan| {
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
        self.0.cache().forget([id]);
        Ok(KeyDetail { key, plan })
    }

    /// Adds the names of the existing plans to an error about an unknown plan.
    async fn with_plan_names(self, tenant_id: TenantId, error: Error) -> Error {
        let Error::Invalid(mut invalid) = error else { return error };
        if let Some(of_tier) = invalid.errors.iter_mut().find(|wrong| wrong.detail == NO_SUCH_PLAN) {
            match self.0.repository().plans().list(tenant_id, Page { page: 1, limit: 100 }).await {
                Ok(known) => {
                    let names: Vec<_> = known.items.iter().map(|plan| plan.name.as_str()).collect();
                    of_tier.detail = format!("{NO_SUCH_PLAN}; there are {}", names.join(", "));
                }
                Err(error) => return error.into(),
            }
        }
        invalid.into()
    }
}

fn apply(key: &mut ApiKey, change: &ApiKeyChange, invalid: &mut Invalid) {
    macro_rules! set {
        ($($field:ident),+) => { $( if let Some(value) = &change.$field { key.$field.clone_from(value); } )+ };
    }
    set!(name, description, tier, owner_id, tags, metadata, expires_at, limits, spend_cap);
    if let Some(allowed) = &change.allowed_ips {
        key.allowed_ips = network::read_list(allowed, invalid);
    }
    if let Some(allowed) = &change.allowed_countries {
        key.allowed_countries = country::read_list(allowed, invalid);
    }
}

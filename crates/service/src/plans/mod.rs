//! Plans: the limits, quota and prices of a tier of keys.

use tollgate_domain::{Effective, LimitSpec, Page, Paged, Plan, PlanId, Prices, QuotaSpec, Scope, TenantId};

use crate::{Caller, Error, Service, keys::require_version};

const PLAN: &str = "plan";

/// A plan's settable members.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members are those of Plan")]
pub struct PlanTerms {
    pub description: Option<String>,
    pub limits: Vec<LimitSpec>,
    pub quota: Option<QuotaSpec>,
    pub prices: Prices,
    /// When changed prices come into force.
    pub effective: Effective,
    pub features: Vec<String>,
}

/// Use cases of plans.
#[derive(Clone, Copy)]
pub struct Plans<'a>(&'a Service);

impl Service {
    /// Plans.
    pub fn plans(&self) -> Plans<'_> {
        Plans(self)
    }
}

impl Plans<'_> {
    /// Makes a plan under a new name.
    pub async fn create(self, tenant_id: TenantId, name: String, terms: PlanTerms) -> Result<Plan, Error> {
        let now = self.0.clock().now();
        let plan = Plan {
            id: PlanId(self.0.clock().new_id()),
            tenant_id,
            name,
            description: terms.description,
            limits: terms.limits,
            quota: terms.quota,
            prices: terms.prices,
            features: terms.features,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        plan.validate()?;
        match self.0.repository().plans().insert(tenant_id, &plan).await {
            Err(tollgate_repository::Error::Conflict) => {
                Err(Error::Conflict("there is a plan of this name already".into()))
            }
            inserted => Ok(inserted?),
        }
    }

    /// One plan.
    pub async fn get(self, tenant_id: TenantId, id: PlanId) -> Result<Plan, Error> {
        self.0.repository().plans().get(tenant_id, id).await?.ok_or(Error::NotFound(PLAN))
    }

    /// All plans.
    pub async fn list(self, tenant_id: TenantId, page: Page) -> Result<Paged<Plan>, Error> {
        Ok(self.0.repository().plans().list(tenant_id, page).await?)
    }

    /// Replaces a plan's terms; with `expected`, only if that is its version. Applies to its keys within a second, prices as
    /// [`PlanTerms::effective`] says. The caller needs `billing:write` for other prices, `keys:write` for anything else.
    pub async fn update(
        self,
        caller: &Caller,
        id: PlanId,
        terms: PlanTerms,
        expected: Option<i64>,
    ) -> Result<Plan, Error> {
        let (tenant_id, now) = (caller.token()?.tenant_id, self.0.clock().now());
        let from = terms.effective.since(now);
        let changed = self.0.repository().plans().change(tenant_id, id, from, |plan| {
            require_version(expected, plan.version)?;
            let PlanTerms { description, limits, quota, prices, features, effective: _ } = terms.clone();
            if prices != plan.prices {
                caller.require(Scope::BillingWrite)?;
            }
            let before = plan.clone();
            *plan = Plan { description, limits, quota, prices, features, updated_at: now, ..before.clone() };
            if before != (Plan { prices: before.prices.clone(), updated_at: before.updated_at, ..plan.clone() }) {
                caller.require(Scope::KeysWrite)?;
            }
            Ok::<_, Error>(plan.validate()?)
        });
        let plan = match changed.await {
            Err(Error::Conflict(_)) => {
                return Err(Error::Conflict("keys were on this plan, so its currency cannot change".into()));
            }
            changed => changed?.ok_or(Error::NotFound(PLAN))?,
        };
        self.0.forget_plans([(tenant_id, plan.name.as_str())]);
        Ok(plan)
    }

    /// Deletes a plan that no key is on; with `expected`, only if that is its version.
    pub async fn delete(self, tenant_id: TenantId, id: PlanId, expected: Option<i64>) -> Result<(), Error> {
        let check = |plan: &Plan| require_version(expected, plan.version);
        match self.0.repository().plans().delete(tenant_id, id, check).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotFound(PLAN)),
            Err(Error::Conflict(_)) => Err(Error::Conflict("keys are on this plan".into())),
            Err(error) => Err(error),
        }
    }
}

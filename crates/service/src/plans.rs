//! Plans: what a tier of keys may do and what it costs.

use tollgate_domain::{LimitSpec, Page, Paged, Plan, PlanId, Prices, QuotaSpec, TenantId};

use crate::{Error, Service, api_keys::require_version};

const PLAN: &str = "plan";

/// A plan's settable members.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members are those of Plan")]
pub struct PlanTerms {
    pub description: Option<String>,
    pub limits: Vec<LimitSpec>,
    pub quota: Option<QuotaSpec>,
    pub prices: Prices,
    pub features: Vec<String>,
}

impl Service {
    /// Makes a plan under a new name.
    pub async fn create_plan(&self, tenant_id: TenantId, name: String, terms: PlanTerms) -> Result<Plan, Error> {
        let now = self.clock().now();
        let plan = Plan {
            id: PlanId(self.clock().new_id()),
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
        match self.repository().plans().insert(tenant_id, &plan).await {
            Err(tollgate_repository::Error::Conflict) => {
                Err(Error::Conflict("there is a plan of this name already".into()))
            }
            inserted => Ok(inserted?),
        }
    }

    /// One plan.
    pub async fn plan(&self, tenant_id: TenantId, id: PlanId) -> Result<Plan, Error> {
        self.repository().plans().get(tenant_id, id).await?.ok_or(Error::NotFound(PLAN))
    }

    /// All plans.
    pub async fn plans(&self, tenant_id: TenantId, page: Page) -> Result<Paged<Plan>, Error> {
        Ok(self.repository().plans().list(tenant_id, page).await?)
    }

    /// Replaces a plan's terms; with `expected`, only if that is its version. In force for its keys within a second.
    pub async fn update_plan(
        &self,
        tenant_id: TenantId,
        id: PlanId,
        terms: PlanTerms,
        expected: Option<i64>,
    ) -> Result<Plan, Error> {
        let now = self.clock().now();
        let changed = self.repository().plans().change(tenant_id, id, |plan| {
            require_version(expected, plan.version)?;
            let PlanTerms { description, limits, quota, prices, features } = terms.clone();
            *plan = Plan { description, limits, quota, prices, features, updated_at: now, ..plan.clone() };
            Ok::<_, Error>(plan.validate()?)
        });
        let plan = changed.await?.ok_or(Error::NotFound(PLAN))?;
        self.forget_plans([(tenant_id, plan.name.as_str())]);
        Ok(plan)
    }

    /// Deletes a plan that no key is on; with `expected`, only if that is its version.
    pub async fn delete_plan(&self, tenant_id: TenantId, id: PlanId, expected: Option<i64>) -> Result<(), Error> {
        let check = |plan: &Plan| require_version(expected, plan.version);
        match self.repository().plans().delete(tenant_id, id, check).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotFound(PLAN)),
            Err(Error::Conflict(_)) => Err(Error::Conflict("keys are on this plan".into())),
            Err(error) => Err(error),
        }
    }
}

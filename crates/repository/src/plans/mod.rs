//! Plans. A deleted plan stays hidden in its table, so that nodes learn of the deletion and old keys keep their prices.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{Model, Money, Page, Paged, Plan, PlanId, Prices, Rate, TenantId};
use uuid::Uuid;

use crate::{
    Error, Repository,
    core::{database::Tx, json, revisions, time::micros},
    prices,
};

/// Of [`Rate`]'s unit in one of [`Money`]'s.
const RATES_PER_MICRO: i128 = 1_000_000;

/// The columns of [`PlanRow`], of a table called `p`; prefixed, because keys are read together with their plan.
macro_rules! plan_columns {
    () => {
        "p.tenant_id as plan_tenant_id, p.id as plan_id, p.name as plan_name, p.description as plan_description,
         p.limits as plan_limits, p.quota as plan_quota, p.currency as plan_currency, p.base_price as plan_base_price,
         p.overage_unit_price as plan_overage_unit_price, p.prices as plan_prices, p.features as plan_features,
         p.created_at as plan_created_at, p.updated_at as plan_updated_at, p.version as plan_version"
    };
}
pub(crate) use plan_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct PlanRow {
    plan_tenant_id: Uuid,
    plan_id: Uuid,
    plan_name: String,
    plan_description: Option<String>,
    plan_limits: Json<Value>,
    plan_quota: Option<Json<Value>>,
    plan_currency: String,
    plan_base_price: i64,
    plan_overage_unit_price: i64,
    plan_prices: Option<Json<Value>>,
    plan_features: Json<Value>,
    plan_created_at: DateTime<Utc>,
    plan_updated_at: DateTime<Utc>,
    plan_version: i64,
}

impl TryFrom<PlanRow> for Plan {
    type Error = Error;

    fn try_from(row: PlanRow) -> Result<Self, Error> {
        let prices = match row.plan_prices {
            Some(prices) => json::read_object(prices, "plans.prices")?,
            None => {
                let currency = row.plan_currency.parse().map_err(|e| Error::Corrupt(format!("plans.currency: {e}")))?;
                let unit = Rate(i128::from(row.plan_overage_unit_price) * RATES_PER_MICRO);
                Prices::per_unit(currency, Money(row.plan_base_price), unit)
            }
        };
        Ok(Self {
            id: PlanId(row.plan_id),
            tenant_id: TenantId(row.plan_tenant_id),
            name: row.plan_name,
            description: row.plan_description,
            limits: json::read_items(row.plan_limits, "plans.limits")?,
            quota: row.plan_quota.map(|quota| json::read_object(quota, "plans.quota")).transpose()?,
            prices,
            features: json::read_items(row.plan_features, "plans.features")?,
            created_at: row.plan_created_at,
            updated_at: row.plan_updated_at,
            version: row.plan_version,
        })
    }
}

/// Reads and writes plans.
#[derive(Clone, Copy)]
pub struct Plans<'a>(&'a Repository);

impl Repository {
    /// Reads and writes plans.
    pub fn plans(&self) -> Plans<'_> {
        Plans(self)
    }
}

impl Plans<'_> {
    /// Inserts a plan. [`Error::Conflict`] when the tenant has a plan of that name, or does not exist.
    pub async fn insert(self, tenant_id: TenantId, plan: &Plan) -> Result<Plan, Error> {
        self.0
            .write_in_turn(|| async {
                let mut tx = self.0.begin().await?;
                let revision = revisions::next(&mut tx).await?;
                let stored = insert(&mut tx, tenant_id, plan, revision).await?;
                tx.commit().await?;
                Ok(stored)
            })
            .await
    }

    /// A plan by its id.
    pub async fn get(self, tenant_id: TenantId, id: PlanId) -> Result<Option<Plan>, Error> {
        let row: Option<PlanRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(BY_ID).bind(tenant_id.0).bind(id.0).fetch_optional(pool).await)
            })
            .await?;
        row.map(Plan::try_from).transpose()
    }

    /// A plan by the slug that keys use.
    pub async fn by_name(self, tenant_id: TenantId, name: &str) -> Result<Option<Plan>, Error> {
        let row: Option<PlanRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(NAMED).bind(tenant_id.0).bind(name).fetch_optional(pool).await)
            })
            .await?;
        row.map(Plan::try_from).transpose()
    }

    /// Plans by name. May lag.
    pub async fn list(self, tenant_id: TenantId, page: Page) -> Result<Paged<Plan>, Error> {
        let text = concat!(
            "select ",
            plan_columns!(),
            " from plans p where p.tenant_id = $1 and not p.deleted order by p.name, p.id limit $2 offset $3"
        );
        let count = "select count(*) from plans where tenant_id = $1 and not deleted";
        let (rows, total): (Vec<PlanRow>, i64) = self
            .0
            .read_lagging(|db| async move {
                on!(&db, pool => {
                    let rows = sqlx::query_as(text)
                        .bind(tenant_id.0).bind(page.rows()).bind(page.offset()).fetch_all(pool).await?;
                    let total = sqlx::query_scalar(count).bind(tenant_id.0).fetch_one(pool).await?;
                    Ok((rows, total))
                })
            })
            .await?;
        let items = rows.into_iter().map(Plan::try_from).collect::<Result<_, _>>()?;
        Ok(Paged { items, total })
    }

    /// Changes the plan as it stands. `change` gets it inside the transaction, as in [`crate::Keys::change`]; the name
    /// is not stored, and the version is counted up. New prices are in force from `prices_from` on. None when there is no such
    /// plan, [`Error::Conflict`] when the currency changes of a plan that a key was on.
    pub async fn change<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: PlanId,
        prices_from: DateTime<Utc>,
        change: impl Fn(&mut Plan) -> Result<(), E>,
    ) -> Result<Option<Plan>, E> {
        let changed = self.0.write_in_turn(|| async {
            let mut tx = self.0.begin().await?;
            let revision = revisions::next(&mut tx).await?;
            let Some(mut plan) = get(&mut tx, tenant_id, id).await? else { return Ok(Ok(None)) };
            let currency = plan.prices.currency;
            if let Err(refused) = change(&mut plan) {
                return Ok(Err(refused));
            }
            if plan.prices.currency != currency && prices::spans::any_on(&mut tx, tenant_id, id).await? {
                return Err(Error::Conflict);
            }
            update(&mut tx, tenant_id, &plan, revision).await?;
            prices::set(&mut tx, tenant_id, &plan, prices_from).await?;
            let stored = get(&mut tx, tenant_id, id).await?;
            tx.commit().await?;
            Ok(Ok(stored))
        });
        changed.await?
    }

    /// Hides the plan and frees its name, if `check` accepts the present plan. False when there is none,
    /// [`Error::Conflict`] while keys use it.
    pub async fn delete<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: PlanId,
        check: impl Fn(&Plan) -> Result<(), E>,
    ) -> Result<bool, E> {
        let users = "select count(*) from api_keys where tenant_id = $1 and plan_id = $2 and deleted_at is null";
        let delete = "
            update plans set deleted = $4, version = version + 1, revision = $3
            where tenant_id = $1 and id = $2 and not deleted";
        let deleted = self.0.write_in_turn(|| async {
            let mut tx = self.0.begin().await?;
            // No key can move to the plan meanwhile, because that also takes the counter.
            let revision = revisions::next(&mut tx).await?;
            let Some(plan) = get(&mut tx, tenant_id, id).await? else { return Ok(Ok(false)) };
            if let Err(refused) = check(&plan) {
                return Ok(Err(refused));
            }
            let used: i64 = on!(&mut tx, t =>
                sqlx::query_scalar(users).bind(tenant_id.0).bind(id.0).fetch_one(&mut **t).await)?;
            if used > 0 {
                return Err(Error::Conflict);
            }
            on!(&mut tx, t => sqlx::query(delete)
                .bind(tenant_id.0).bind(id.0).bind(revision).bind(true).execute(&mut **t).await.map(|_| ()))?;
            tx.commit().await?;
            Ok(Ok(true))
        });
        deleted.await?
    }
}

const BY_ID: &str =
    concat!("select ", plan_columns!(), " from plans p where p.tenant_id = $1 and p.id = $2 and not p.deleted");
const NAMED: &str =
    concat!("select ", plan_columns!(), " from plans p where p.tenant_id = $1 and p.name = $2 and not p.deleted");

/// What nodes of the version before read as the price of a unit, in millionths: rounded down, 0 where it is no single price.
fn former_unit_price(prices: &Prices) -> i64 {
    match prices.model {
        Model::PerUnit { unit_amount } => i64::try_from(unit_amount.0 / RATES_PER_MICRO).unwrap_or(i64::MAX),
        _ => 0,
    }
}

/// The live plan, as this transaction sees it.
async fn get(tx: &mut Tx, tenant_id: TenantId, id: PlanId) -> Result<Option<Plan>, Error> {
    let row: Option<PlanRow> = on!(tx, t =>
        sqlx::query_as(BY_ID).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    row.map(Plan::try_from).transpose()
}

async fn update(tx: &mut Tx, tenant_id: TenantId, plan: &Plan, revision: i64) -> Result<(), Error> {
    let (limits, features) = (json::items(&plan.limits)?, json::items(&plan.features)?);
    let quota = plan.quota.as_ref().map(json::object).transpose()?;
    let text = "
        update plans set description = $3, limits = $4, quota = $5, currency = $6, base_price = $7,
            overage_unit_price = $8, features = $9, updated_at = $10, version = version + 1, revision = $11, prices = $12
        where tenant_id = $1 and id = $2 and not deleted";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(plan.id.0).bind(&plan.description).bind(limits).bind(quota)
        .bind(plan.prices.currency.as_str()).bind(plan.prices.base.0).bind(former_unit_price(&plan.prices))
        .bind(features).bind(micros(plan.updated_at)).bind(revision).bind(json::object(&plan.prices)?)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// The live plan of that name, as this transaction sees it.
pub(crate) async fn named(tx: &mut Tx, tenant_id: TenantId, name: &str) -> Result<Option<Plan>, Error> {
    let row: Option<PlanRow> = on!(tx, t =>
        sqlx::query_as(NAMED).bind(tenant_id.0).bind(name).fetch_optional(&mut **t).await)?;
    row.map(Plan::try_from).transpose()
}

pub(crate) async fn insert(tx: &mut Tx, tenant_id: TenantId, plan: &Plan, revision: i64) -> Result<Plan, Error> {
    let (limits, features) = (json::items(&plan.limits)?, json::items(&plan.features)?);
    let quota = plan.quota.as_ref().map(json::object).transpose()?;
    let text = "
        insert into plans (tenant_id, id, name, description, limits, quota, currency, base_price, overage_unit_price,
            features, created_at, updated_at, version, revision, deleted, prices)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    on!(&mut *tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(plan.id.0).bind(&plan.name).bind(&plan.description).bind(limits).bind(quota)
        .bind(plan.prices.currency.as_str()).bind(plan.prices.base.0).bind(former_unit_price(&plan.prices))
        .bind(features).bind(micros(plan.created_at)).bind(micros(plan.updated_at)).bind(plan.version).bind(revision)
        .bind(false).bind(json::object(&plan.prices)?).execute(&mut **t).await.map(|_| ()))?;
    prices::set(tx, tenant_id, plan, plan.created_at).await?;
    named(tx, tenant_id, &plan.name).await?.ok_or(Error::Conflict)
}

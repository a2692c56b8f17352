//! Plans: the limits, quota and prices that a tier of keys shares.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate_domain::{Plan, PlanId};
use tollgate_service::plans::PlanTerms;
use utoipa::{IntoParams, ToSchema};

use crate::{
    answers::{
        prices::{PlanPrices, PlanPricesView},
        views::{Data, Limit, List, Quota},
    },
    app::App,
    body::{
        extract::{Id, IfMatch, etag, location, page},
        json::Json,
        problem::Problem,
        query::Params,
    },
    middleware::auth::{Can, KeysRead, KeysWrite, PlanWriter},
};

/// A plan to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePlan {
    /// Keys name it as their `tier`: 1 to 64 lower-case letters, digits, `-` or `_`. It never changes.
    #[schema(example = "startup")]
    name: String,
    description: Option<String>,
    /// At least one; the first is the one a key shows as its `rate_limit`.
    #[schema(min_items = 1, max_items = 16)]
    limits: Vec<Limit>,
    /// Null: any number of units.
    quota: Option<Quota>,
    prices: PlanPrices,
    #[serde(default)]
    #[schema(max_items = 50)]
    features: Vec<String>,
}

/// A plan's new terms; what is absent is cleared.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdatePlan {
    description: Option<String>,
    #[schema(min_items = 1, max_items = 16)]
    limits: Vec<Limit>,
    quota: Option<Quota>,
    prices: PlanPrices,
    #[serde(default)]
    #[schema(max_items = 50)]
    features: Vec<String>,
}

/// A plan.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanView {
    #[schema(value_type = uuid::Uuid)]
    id: PlanId,
    #[schema(example = "standard")]
    name: String,
    #[schema(required)]
    description: Option<String>,
    limits: Vec<Limit>,
    #[schema(required)]
    quota: Option<Quota>,
    prices: PlanPricesView,
    features: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Counts changes; `If-Match` compares it.
    #[schema(example = 1)]
    version: i64,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPlans {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// Make a plan.
#[utoipa::path(post, path = "/api/v1/plans", tag = "plans", request_body = CreatePlan,
    responses((status = 201, description = "Made.", body = Data<PlanView>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Json(body): Json<CreatePlan>,
) -> Result<Response, Problem> {
    let CreatePlan { name, description, limits, quota, prices, features } = body;
    let terms = UpdatePlan { description, limits, quota, prices, features }.read()?;
    let plan = app.service.plans().create(tenant_id, name, terms).await?;
    Ok((StatusCode::CREATED, location("/api/v1/plans", &plan.id), shown(plan)).into_response())
}

/// List plans.
#[utoipa::path(get, path = "/api/v1/plans", tag = "plans", params(ListPlans),
    responses((status = 200, description = "A page.", body = List<PlanView>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Params(query): Params<ListPlans>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    Ok(List::of(page, app.service.plans().list(tenant_id, page).await?, PlanView::from))
}

/// One plan.
#[utoipa::path(get, path = "/api/v1/plans/{id}", tag = "plans", params(("id" = uuid::Uuid, Path, description = "The plan's id.")),
    responses((status = 200, description = "The plan.", body = Data<PlanView>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn show(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Id(id): Id<PlanId>,
) -> Result<Response, Problem> {
    Ok(shown(app.service.plans().get(tenant_id, id).await?))
}

/// Replace a plan's terms; limits are in force for its keys within a second, prices with the next period unless they say `now`.
/// Other prices need the scope `billing:write`, anything else `keys:write`.
#[utoipa::path(put, path = "/api/v1/plans/{id}", tag = "plans", request_body = UpdatePlan,
    params(("id" = uuid::Uuid, Path, description = "The plan's id."), IfMatch),
    responses((status = 200, description = "Changed.", body = Data<PlanView>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn update(
    State(app): State<App>,
    PlanWriter(caller): PlanWriter,
    Id(id): Id<PlanId>,
    IfMatch(version): IfMatch,
    Json(body): Json<UpdatePlan>,
) -> Result<Response, Problem> {
    Ok(shown(app.service.plans().update(&caller, id, body.read()?, version).await?))
}

/// Delete a plan that no key is on.
#[utoipa::path(delete, path = "/api/v1/plans/{id}", tag = "plans",
    params(("id" = uuid::Uuid, Path, description = "The plan's id."), IfMatch),
    responses((status = 204, description = "Gone.")), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn delete(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<PlanId>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    app.service.plans().delete(tenant_id, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(plan: Plan) -> Response {
    (etag(plan.version), Data::json(PlanView::from(plan))).into_response()
}

impl UpdatePlan {
    fn read(self) -> Result<PlanTerms, Problem> {
        let (prices, effective) = self.prices.read()?;
        Ok(PlanTerms {
            description: self.description,
            limits: self.limits.into_iter().map(Into::into).collect(),
            quota: self.quota.map(Into::into),
            prices,
            effective,
            features: self.features,
        })
    }
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> Self {
        Self {
            id: plan.id,
            name: plan.name,
            description: plan.description,
            limits: plan.limits.into_iter().map(Limit::from).collect(),
            quota: plan.quota.map(Quota::from),
            prices: plan.prices.into(),
            features: plan.features,
            created_at: plan.created_at,
            updated_at: plan.updated_at,
            version: plan.version,
        }
    }
}

//! Jobs that failed too often: list and retry them.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{Json as Answer, extract::State, response::Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_domain::Paged;
use tollgate_service::DeadJob;
use utoipa::{IntoParams, ToSchema};

use crate::{
    answers::views::{Data, List},
    app::App,
    body::{
        extract::{Id, page},
        problem::Problem,
        query::Params,
    },
    middleware::auth::{Admin, Can},
};

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListDead {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// A job that was given up.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadJobView {
    id: String,
    #[schema(example = "usage_apply")]
    name: String,
    #[schema(example = "critical")]
    priority: &'static str,
    attempts: u32,
    /// What the last attempt failed with.
    cause: String,
    pushed_at: DateTime<Utc>,
    died_at: DateTime<Utc>,
    /// What it was to work on: of rows, your own only. Null when it cannot be read.
    #[schema(required, value_type = Option<Object>, example = json!({"boot": "01a20a9e-85ea-7c36-a9d2-d95b58943f68"}))]
    payload: Value,
}

/// A job that is due again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Retried {
    id: String,
    #[schema(example = "queued")]
    status: &'static str,
}

/// Dead jobs, the latest first: those that carry rows of your keys, and for the tenant of the first start the installation's.
#[utoipa::path(get, path = "/api/v1/jobs/dead", tag = "jobs", params(ListDead),
    responses((status = 200, description = "A page.", body = List<DeadJobView>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn dead(
    State(app): State<App>,
    Can(tenant_id, ..): Can<Admin>,
    Params(query): Params<ListDead>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    let (items, total) = app.service.ops().dead_jobs(tenant_id, page.page, page.limit).await?;
    let found = Paged { items, total: i64::try_from(total).unwrap_or(i64::MAX) };
    Ok(List::of(page, found, DeadJobView::from))
}

/// Make a dead job due again, with all its attempts ahead of it.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path, description = "The job's id.")),
    responses((status = 200, description = "Due again.", body = Data<Retried>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn retry(
    State(app): State<App>,
    Can(tenant_id, ..): Can<Admin>,
    Id(id): Id<String>,
) -> Result<Answer<Data<Retried>>, Problem> {
    app.service.ops().retry_job(tenant_id, &id).await?;
    Ok(Data::json(Retried { id, status: "queued" }))
}

impl From<DeadJob> for DeadJobView {
    fn from(job: DeadJob) -> Self {
        Self {
            id: job.id,
            name: job.name,
            priority: job.priority.as_str(),
            attempts: job.attempts,
            cause: job.cause,
            pushed_at: job.pushed_at,
            died_at: job.died_at,
            payload: job.payload,
        }
    }
}

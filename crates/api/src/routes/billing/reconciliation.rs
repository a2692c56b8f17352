//! What a reconciliation found.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate_domain::{
    Invalid,
    billing::finding::{Finding, FindingFilter, FindingKind, FindingStatus},
    text,
};
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};
use uuid::Uuid;

use crate::{
    answers::views::{Data, List, one_of},
    app::App,
    body::{
        extract::{Id, page},
        json::Json,
        problem::Problem,
        query::Params,
    },
    middleware::auth::{BillingRead, BillingWrite, Can},
    routes::billing::records::Queued,
};

/// Which findings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListFindings {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    #[param(schema_with = status)]
    status: Option<FindingStatus>,
    #[param(schema_with = kind)]
    kind: Option<FindingKind>,
}

/// Two figures that should be one. Nothing is repaired.
#[derive(Serialize, ToSchema)]
pub(crate) struct FindingView {
    id: Uuid,
    #[schema(schema_with = kind)]
    kind: FindingKind,
    /// The key or the record; empty: all journals.
    #[schema(example = "01a20a9e-85ea-7c36-a9d2-d95b58943f68")]
    subject: String,
    /// The start of the period, or of the day.
    #[schema(required)]
    period_start: Option<DateTime<Utc>>,
    #[schema(example = "100")]
    expected: String,
    #[schema(example = "101")]
    actual: String,
    found_at: DateTime<Utc>,
    #[schema(schema_with = status)]
    status: FindingStatus,
    #[schema(required, example = "known")]
    note: Option<String>,
}

/// Somebody has seen it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acknowledgement {
    #[schema(schema_with = acknowledged)]
    status: FindingStatus,
    note: Option<String>,
}

/// List what did not agree, the newest first.
#[utoipa::path(get, path = "/api/v1/billing/reconciliation", tag = "billing", params(ListFindings),
    responses((status = 200, description = "A page.", body = List<FindingView>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn findings(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Params(query): Params<ListFindings>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    let filter = FindingFilter { kind: query.kind, status: query.status };
    Ok(List::of(page, app.service.billing().findings(tenant_id, filter, page).await?, FindingView::from))
}

/// Compare everything now. It runs every hour by itself.
#[utoipa::path(post, path = "/api/v1/billing/reconciliation/run", tag = "billing",
    responses((status = 202, description = "Queued.", body = Data<Queued>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn reconcile(State(app): State<App>, _: Can<BillingWrite>) -> Result<Response, Problem> {
    let job_id = app.service.billing().reconcile_now().await?;
    Ok((StatusCode::ACCEPTED, Data::json(Queued { job_id })).into_response())
}

/// Say that somebody has seen a finding.
#[utoipa::path(put, path = "/api/v1/billing/reconciliation/{id}", tag = "billing", request_body = Acknowledgement,
    params(("id" = uuid::Uuid, Path, description = "The finding's id.")),
    responses((status = 200, description = "Seen.", body = Data<FindingView>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Id(id): Id<Uuid>,
    Json(body): Json<Acknowledgement>,
) -> Result<Answer<Data<FindingView>>, Problem> {
    let mut invalid = Invalid::none();
    invalid.require(body.status == FindingStatus::Acknowledged, "/status", "\"acknowledged\"");
    invalid.require(text::DESCRIPTION.fit_any(body.note.as_deref()), "/note", text::DESCRIPTION);
    invalid.finish()?;
    let finding = app.service.billing().acknowledge(tenant_id, id, body.note.as_deref()).await?;
    Ok(Data::json(finding.into()))
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { id, kind, subject, period_start, expected, actual, found_at, status, note } = finding;
        Self { id, kind, subject, period_start, expected, actual, found_at, status, note }
    }
}

fn kind() -> ObjectBuilder {
    one_of(&FindingKind::ALL.map(FindingKind::as_str))
}

fn status() -> ObjectBuilder {
    one_of(&FindingStatus::ALL.map(FindingStatus::as_str))
}

fn acknowledged() -> ObjectBuilder {
    one_of(&["acknowledged"])
}

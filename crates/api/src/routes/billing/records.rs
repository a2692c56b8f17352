//! Records: the running one of a key, stored ones, and what becomes of them.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Currency, Environment, Invalid, Money, Order, RecordId, Rfc3339,
    billing::{PaymentStatus, RecordFilter, RecordOrder, RecordStatus},
    text,
};
use tollgate_service::billing::{Voided, records::PaymentChange};
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};

use crate::{
    answers::{
        record::{CurrentRecord, RecordView, RecordWithLines, payment_status, record_status},
        views::{self, Data, List},
    },
    app::App,
    body::{
        extract::{Id, IfMatch, etag, page},
        json::Json,
        problem::Problem,
        query::Params,
    },
    middleware::auth::{BillingRead, BillingWrite, Can},
    routes::billing::month,
};

/// Which records, in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRecords {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `open` lists running estimates, by key.
    #[param(schema_with = record_status)]
    status: Option<RecordStatus>,
    #[param(schema_with = payment_status)]
    payment_status: Option<PaymentStatus>,
    #[param(value_type = Option<uuid::Uuid>)]
    api_key_id: Option<ApiKeyId>,
    owner_id: Option<String>,
    /// The plan at the period's end.
    tier: Option<String>,
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
    #[param(schema_with = views::environment)]
    environment: Option<Environment>,
    /// A month.
    period: Option<String>,
    #[serde(default)]
    #[param(schema_with = order_by)]
    order_by: RecordOrder,
    #[serde(default)]
    #[param(schema_with = views::order)]
    order: Order,
}

/// Which month is to be closed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseRequest {
    #[schema(example = "2026-10")]
    period: String,
    /// All keys unless given.
    #[schema(value_type = Option<uuid::Uuid>)]
    api_key_id: Option<ApiKeyId>,
}

/// The work was queued.
#[derive(Serialize, ToSchema)]
pub(crate) struct Queued {
    #[schema(example = "billing_close:1759276800:00000000-0000-0000-0000-000000000001")]
    pub(crate) job_id: String,
}

/// Why a record is taken back, and whether another takes its place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoidRequest {
    reason: String,
    /// True: a record with the present figures takes its place. False: nothing is owed for the period, whatever comes late.
    rebill: bool,
}

/// What was taken back.
#[derive(Serialize, ToSchema)]
pub(crate) struct VoidedView {
    #[serde(flatten)]
    record: RecordView,
    /// The record in its place.
    #[schema(required, value_type = Option<uuid::Uuid>)]
    replacement_id: Option<RecordId>,
}

/// What was paid.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentRequest {
    #[schema(schema_with = payment_status)]
    payment_status: PaymentStatus,
    /// In all; with `paid`, the amount due unless given.
    #[schema(value_type = Option<String>, example = "44.00")]
    amount_paid: Option<Money>,
    /// Yours, or the payment provider's.
    reference: Option<String>,
    /// With `paid`; now unless given.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    paid_at: Option<Rfc3339>,
}

/// The running record of a key: what it owes if it makes no further call, and what it will owe if it goes on so.
#[utoipa::path(get, path = "/api/v1/billing/{id}/current", tag = "billing", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "The open record.", body = Data<CurrentRecord>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn current(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Id(id): Id<ApiKeyId>,
) -> Result<Answer<Data<CurrentRecord>>, Problem> {
    let (record, lines, projected) = app.service.billing().current(tenant_id, id).await?;
    Ok(Data::json(CurrentRecord::new(record, lines, projected)))
}

/// List records, without lines. Records of tests are estimates only, and listed by `environment=test`.
#[utoipa::path(get, path = "/api/v1/billing/records", tag = "billing", params(ListRecords),
    responses((status = 200, description = "A page.", body = List<RecordView>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Params(query): Params<ListRecords>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    for (name, value) in [("owner_id", &query.owner_id), ("tier", &query.tier)] {
        if !text::FILTER.fit_any(value.as_deref()) {
            return Err(Problem::bad_request(format!("{name} must be {}", text::FILTER)));
        }
    }
    let filter = RecordFilter {
        status: query.status,
        payment_status: query.payment_status,
        api_key_id: query.api_key_id,
        owner_id: query.owner_id,
        tier: query.tier,
        currency: query.currency,
        environment: query.environment,
        period: query.period.as_deref().map(|text| month("period", text)).transpose()?,
        order_by: query.order_by,
        order: query.order,
    };
    Ok(List::of(page, app.service.billing().records(tenant_id, &filter, page).await?, RecordView::from))
}

/// One stored record with its lines.
#[utoipa::path(get, path = "/api/v1/billing/records/{id}", tag = "billing", params(("id" = uuid::Uuid, Path, description = "The record's id.")),
    responses((status = 200, description = "The record.", body = Data<RecordWithLines>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn show(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Id(id): Id<RecordId>,
) -> Result<Response, Problem> {
    let (record, lines) = app.service.billing().record(tenant_id, id).await?;
    let version = record.version;
    Ok((etag(version), Data::json(RecordWithLines::new(record, lines))).into_response())
}

/// Close a month now. What is closed already stays as it is.
#[utoipa::path(post, path = "/api/v1/billing/close", tag = "billing", request_body = CloseRequest,
    responses((status = 202, description = "Queued.", body = Data<Queued>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn close(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Json(body): Json<CloseRequest>,
) -> Result<Response, Problem> {
    let period = BillingPeriod::parse(&body.period);
    let period = period.ok_or_else(|| Invalid::field("/period", "must be a month such as \"2026-10\""))?;
    let job_id = app.service.billing().close_now(tenant_id, period, body.api_key_id).await?;
    Ok((StatusCode::ACCEPTED, Data::json(Queued { job_id })).into_response())
}

/// Take a closed record back. Its credits can be used again. A record that is void already stays as it is.
#[utoipa::path(post, path = "/api/v1/billing/records/{id}/void", tag = "billing", request_body = VoidRequest,
    params(("id" = uuid::Uuid, Path, description = "The record's id.")),
    responses((status = 200, description = "Void.", body = Data<VoidedView>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn void(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Id(id): Id<RecordId>,
    Json(body): Json<VoidRequest>,
) -> Result<Response, Problem> {
    if body.reason.trim().is_empty() || !text::DESCRIPTION.fit(&body.reason) {
        return Err(Invalid::field("/reason", text::DESCRIPTION.to_string()).into());
    }
    let Voided { record, replacement } = app.service.billing().void(tenant_id, id, &body.reason, body.rebill).await?;
    let version = record.version;
    let view = VoidedView { record: record.into(), replacement_id: replacement };
    Ok((etag(version), Data::json(view)).into_response())
}

/// Say what was paid of a closed record.
#[utoipa::path(put, path = "/api/v1/billing/records/{id}/payment-status", tag = "billing", request_body = PaymentRequest,
    params(("id" = uuid::Uuid, Path, description = "The record's id."), IfMatch),
    responses((status = 200, description = "Changed.", body = Data<RecordView>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn pay(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Id(id): Id<RecordId>,
    IfMatch(version): IfMatch,
    Json(body): Json<PaymentRequest>,
) -> Result<Response, Problem> {
    let mut invalid = Invalid::none();
    let fits =
        body.amount_paid.is_none_or(|amount| (Money::ZERO..=tollgate_domain::price::MAX_AMOUNT).contains(&amount));
    invalid.require(fits, "/amount_paid", "not negative, and at most twelve digits");
    invalid.require(text::DESCRIPTION.fit_any(body.reference.as_deref()), "/reference", text::DESCRIPTION);
    invalid.finish()?;
    let change = PaymentChange {
        status: body.payment_status,
        amount_paid: body.amount_paid,
        paid_at: body.paid_at.map(|Rfc3339(at)| at),
        reference: body.reference,
    };
    let record = app.service.billing().change_payment(tenant_id, id, change, version).await?;
    Ok((etag(record.version), Data::json(RecordView::from(record))).into_response())
}

fn order_by() -> ObjectBuilder {
    views::one_of(&["period", "amount_due", "created_at"])
}

//! Credits: amounts granted in advance, which pay records when a month is closed.
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
    ApiKeyId, Currency, GrantId, Money, RecordId, Rfc3339,
    billing::grant::{CreditGrant, GrantFilter, GrantHolder, GrantSource, GrantStatus},
    text,
};
use tollgate_service::billing::{
    Application,
    credits::{Balance, NewGrant},
};
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};

use crate::{
    answers::views::{Data, List, one_of},
    app::App,
    body::{
        extract::{Id, location, page},
        json::Json,
        problem::Problem,
        query::Params,
        whole,
    },
    middleware::auth::{BillingRead, BillingWrite, Can},
};

/// Credit to be granted: to an owner or to a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"owner_id": "acme", "amount": "100.00", "currency": "USD"}))]
pub(crate) struct CreateGrant {
    owner_id: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>)]
    api_key_id: Option<ApiKeyId>,
    #[schema(value_type = String, example = "100.00")]
    amount: Money,
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// The lower pays first; 50 unless given.
    #[serde(default = "usual_priority", deserialize_with = "whole::number")]
    #[schema(minimum = 0, maximum = 255)]
    priority: u8,
    /// It pays periods that end after this; now unless given.
    #[schema(value_type = Option<DateTime<Utc>>)]
    effective_at: Option<Rfc3339>,
    /// It pays periods that begin before this; for ever unless given.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Rfc3339>,
    reason: Option<String>,
    /// Whether it was paid for.
    #[serde(default)]
    prepaid: bool,
}

fn usual_priority() -> u8 {
    50
}

/// An amount granted in advance.
#[derive(Serialize, ToSchema)]
pub(crate) struct GrantView {
    #[schema(value_type = uuid::Uuid)]
    id: GrantId,
    #[schema(required, example = "acme")]
    owner_id: Option<String>,
    #[schema(required, value_type = Option<uuid::Uuid>)]
    api_key_id: Option<ApiKeyId>,
    #[schema(example = "100.00")]
    amount: String,
    /// The amount less what it paid.
    #[schema(example = "100.00")]
    remaining: String,
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    #[schema(example = 50)]
    priority: u8,
    effective_at: DateTime<Utc>,
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    #[schema(required)]
    reason: Option<String>,
    prepaid: bool,
    #[schema(schema_with = source)]
    source: GrantSource,
    #[schema(schema_with = status)]
    status: GrantStatus,
    created_at: DateTime<Utc>,
    #[schema(required)]
    voided_at: Option<DateTime<Utc>>,
    #[schema(example = 1)]
    version: i64,
}

/// A grant with the records that it paid.
#[derive(Serialize, ToSchema)]
pub(crate) struct GrantWithApplications {
    #[serde(flatten)]
    grant: GrantView,
    applications: Vec<ApplicationView>,
}

/// What a grant paid of a record.
#[derive(Serialize, ToSchema)]
struct ApplicationView {
    #[schema(value_type = uuid::Uuid)]
    record_id: RecordId,
    #[schema(example = "29.00")]
    amount: String,
    at: DateTime<Utc>,
}

/// Which grants.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListGrants {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    owner_id: Option<String>,
    #[param(value_type = Option<uuid::Uuid>)]
    api_key_id: Option<ApiKeyId>,
    #[param(schema_with = status)]
    status: Option<GrantStatus>,
}

/// Whose balance.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BalanceQuery {
    owner_id: String,
    /// The one that the owner has grants in, unless given; required where there are several.
    #[param(value_type = Option<String>)]
    currency: Option<Currency>,
}

/// What an owner has in one currency.
#[derive(Serialize, ToSchema)]
pub(crate) struct BalanceView {
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// What can pay now.
    #[schema(example = "100.00")]
    available: String,
    /// What becomes effective later.
    #[schema(example = "0.00")]
    pending: String,
    /// What can pay now and ends.
    expiring: Vec<Expiring>,
    /// What will be left when the running period is closed with the usage so far; null for an owner of over 100 keys.
    #[schema(required, example = "71.00")]
    estimated_after_current_period: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Expiring {
    #[schema(example = "100.00")]
    amount: String,
    at: DateTime<Utc>,
}

/// Grant credit.
#[utoipa::path(post, path = "/api/v1/credits/grants", tag = "credits", request_body = CreateGrant,
    responses((status = 201, description = "Granted.", body = Data<GrantView>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Json(body): Json<CreateGrant>,
) -> Result<Response, Problem> {
    let time = |time: Option<Rfc3339>| time.map(|Rfc3339(at)| at);
    let new = NewGrant {
        owner_id: body.owner_id,
        api_key_id: body.api_key_id,
        amount: body.amount,
        currency: body.currency,
        priority: body.priority,
        effective_at: time(body.effective_at),
        expires_at: time(body.expires_at),
        reason: body.reason,
        prepaid: body.prepaid,
    };
    let grant = app.service.billing().grant(tenant_id, new).await?;
    let now = app.service.clock().now();
    let place = location("/api/v1/credits/grants", &grant.id);
    Ok((StatusCode::CREATED, place, Data::json(GrantView::new(grant, now))).into_response())
}

/// List grants, the newest first.
#[utoipa::path(get, path = "/api/v1/credits/grants", tag = "credits", params(ListGrants),
    responses((status = 200, description = "A page.", body = List<GrantView>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Params(query): Params<ListGrants>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    let filter = GrantFilter { owner_id: query.owner_id, api_key_id: query.api_key_id, status: query.status };
    if !text::FILTER.fit_any(filter.owner_id.as_deref()) {
        return Err(Problem::bad_request(format!("owner_id must be {}", text::FILTER)));
    }
    let now = app.service.clock().now();
    let found = app.service.billing().grants(tenant_id, &filter, page).await?;
    Ok(List::of(page, found, |grant| GrantView::new(grant, now)))
}

/// One grant with the records that it paid.
#[utoipa::path(get, path = "/api/v1/credits/grants/{id}", tag = "credits", params(("id" = uuid::Uuid, Path, description = "The grant's id.")),
    responses((status = 200, description = "The grant.", body = Data<GrantWithApplications>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn show(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Id(id): Id<GrantId>,
) -> Result<Answer<Data<GrantWithApplications>>, Problem> {
    let (grant, applications) = app.service.billing().find_grant(tenant_id, id).await?;
    let currency = grant.currency;
    let view =
        |Application { record_id, amount, at }| ApplicationView { record_id, amount: amount.in_currency(currency), at };
    let applications = applications.into_iter().map(view).collect();
    let grant = GrantView::new(grant, app.service.clock().now());
    Ok(Data::json(GrantWithApplications { grant, applications }))
}

/// Take away what is left of a grant; what it paid stays. One that is void already stays as it is.
#[utoipa::path(post, path = "/api/v1/credits/grants/{id}/void", tag = "credits", params(("id" = uuid::Uuid, Path, description = "The grant's id.")),
    responses((status = 200, description = "Void.", body = Data<GrantView>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn void(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Id(id): Id<GrantId>,
) -> Result<Answer<Data<GrantView>>, Problem> {
    let grant = app.service.billing().void_grant(tenant_id, id).await?;
    Ok(Data::json(GrantView::new(grant, app.service.clock().now())))
}

/// What an owner has in one currency.
#[utoipa::path(get, path = "/api/v1/credits/balance", tag = "credits", params(BalanceQuery),
    responses((status = 200, description = "The balance.", body = Data<BalanceView>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn balance(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Params(query): Params<BalanceQuery>,
) -> Result<Answer<Data<BalanceView>>, Problem> {
    if !text::FILTER.fit(&query.owner_id) {
        return Err(Problem::bad_request(format!("owner_id must be {}", text::FILTER)));
    }
    let balance = app.service.billing().balance(tenant_id, &query.owner_id, query.currency).await?;
    Ok(Data::json(balance.into()))
}

impl GrantView {
    fn new(grant: CreditGrant, now: DateTime<Utc>) -> Self {
        let amount = |amount: Money| amount.in_currency(grant.currency);
        let (status, remaining, granted) = (grant.status_at(now), amount(grant.remaining()), amount(grant.amount));
        let (owner_id, api_key_id) = match grant.holder {
            GrantHolder::Owner(owner) => (Some(owner), None),
            GrantHolder::Key(key) => (None, Some(key)),
        };
        Self {
            id: grant.id,
            owner_id,
            api_key_id,
            amount: granted,
            remaining,
            currency: grant.currency,
            priority: grant.priority,
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
            reason: grant.reason,
            prepaid: grant.prepaid,
            source: grant.source,
            status,
            created_at: grant.created_at,
            voided_at: grant.voided_at,
            version: grant.version,
        }
    }
}

impl From<Balance> for BalanceView {
    fn from(balance: Balance) -> Self {
        let amount = |amount: Money| amount.in_currency(balance.currency);
        Self {
            currency: balance.currency,
            available: amount(balance.available),
            pending: amount(balance.pending),
            expiring: balance.expiring.iter().map(|(left, at)| Expiring { amount: amount(*left), at: *at }).collect(),
            estimated_after_current_period: balance.after_current_period.map(amount),
        }
    }
}

fn status() -> ObjectBuilder {
    one_of(&GrantStatus::ALL.map(GrantStatus::as_str))
}

fn source() -> ObjectBuilder {
    one_of(&["manual", "correction"])
}

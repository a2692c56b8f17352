//! Keys: created, listed, looked up, changed, rotated, suspended, deleted.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::{
    ApiKeyId, Environment, FieldError, KeyFilter, KeyOrder, KeyStatus, Order, Rfc3339, usage::Counts,
};
use tollgate_service::keys::{ApiKeyChange, KeyDetail, KeyStats, NewApiKey};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        ObjectBuilder,
        schema::{ArrayBuilder, SchemaType, Type},
    },
};

use crate::{
    app::App,
    auth::{Can, KeysRead, KeysWrite},
    extract::{Id, IfMatch, etag, location, page},
    json::Json,
    problem::Problem,
    query::Params,
    views::{self, ApiKeyView, Data, Limit, List},
    whole,
    wrong_fields::FreeForm,
};

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateApiKey {
    /// 1 to 255 characters.
    #[serde(default)]
    #[schema(required, value_type = String, example = "Checkout service")]
    name: Option<String>,
    /// The plan's name.
    #[serde(default)]
    #[schema(required, value_type = String, example = "standard")]
    tier: Option<String>,
    /// At most 500 characters.
    description: Option<String>,
    #[serde(default)]
    #[schema(schema_with = views::environment)]
    environment: Environment,
    /// Your own id of the customer who holds the key.
    owner_id: Option<String>,
    /// At most 20, each once.
    #[serde(default)]
    #[schema(schema_with = tags)]
    tags: Vec<String>,
    /// At most 50 members and 8192 bytes.
    #[serde(default)]
    #[schema(schema_with = views::metadata)]
    metadata: FreeForm,
    /// Addresses or networks; empty: any.
    #[serde(default)]
    #[schema(example = json!(["192.0.2.0/24"]), max_items = 100)]
    allowed_ips: Vec<String>,
    /// ISO 3166-1 alpha-2; empty: any.
    #[serde(default)]
    #[schema(max_items = 250)]
    allowed_countries: Vec<String>,
    /// At most 100 years ahead.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Rfc3339>,
    /// Override the plan's limits of the same name, or add to them.
    #[serde(default)]
    #[schema(max_items = 16)]
    limits: Vec<Limit>,
}

/// A change: what is absent stays as it is, null clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateApiKey {
    #[schema(example = "Checkout service, new")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[schema(example = "pro")]
    tier: Option<String>,
    #[schema(schema_with = new_status)]
    status: Option<KeyStatus>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    owner_id: Option<Option<String>>,
    #[schema(schema_with = new_tags)]
    tags: Option<Vec<String>>,
    #[schema(schema_with = new_metadata)]
    metadata: Option<FreeForm>,
    #[schema(max_items = 100)]
    allowed_ips: Option<Vec<String>>,
    #[schema(max_items = 250)]
    allowed_countries: Option<Vec<String>>,
    /// Within 100 years of now.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Option<Rfc3339>>,
    #[schema(max_items = 16)]
    limits: Option<Vec<Limit>>,
}

/// A secret to be looked up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupApiKey {
    #[schema(example = "tg_live_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD")]
    key: String,
}

/// How long the old secret goes on.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateApiKey {
    /// At most 30 days.
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 3600, maximum = 2_592_000)]
    grace_seconds: u64,
}

/// Why and how long.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SuspendApiKey {
    /// Null: until it is resumed.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 600, minimum = 1, maximum = 316_224_000)]
    seconds: Option<u64>,
    /// At most 500 characters.
    #[schema(example = "unusual traffic")]
    reason: Option<String>,
}

/// Which keys, in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListApiKeys {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    #[param(schema_with = views::key_status)]
    status: Option<KeyStatus>,
    tier: Option<String>,
    owner_id: Option<String>,
    tag: Option<String>,
    /// Part of name, description or key prefix, in any case.
    search: Option<String>,
    #[serde(default)]
    #[param(schema_with = order_by)]
    order_by: KeyOrder,
    #[serde(default)]
    #[param(schema_with = order)]
    order: Order,
}

/// A key with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyWithSecret {
    #[serde(flatten)]
    record: ApiKeyView,
    #[schema(example = "tg_live_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD")]
    key: String,
}

/// A key with what it did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyWithUsage {
    #[serde(flatten)]
    record: ApiKeyView,
    usage_stats: UsageStats,
}

#[derive(Serialize, ToSchema)]
struct UsageStats {
    /// Units, admitted or refused, as the next two.
    total_requests: i64,
    requests_this_month: i64,
    requests_today: i64,
    #[schema(required)]
    last_used_at: Option<DateTime<Utc>>,
}

/// What a key did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyStats {
    /// Since the key was made.
    usage_stats: UsageStats,
    /// Share of the last 24 hours' units that were admitted; null where none were asked for.
    #[schema(required, minimum = 0.0, maximum = 1.0, example = 0.9583)]
    success_rate: Option<f64>,
    last_24_hours: Vec<HourView>,
    /// Of the last 30 days, the busiest first.
    top_endpoints: Vec<EndpointView>,
    /// Decisions, not units, by which a limit or the quota refused in the last 24 hours.
    violations: i64,
    /// When the key was deleted; null for one that was not. What it used stays readable.
    #[schema(required)]
    deleted_at: Option<DateTime<Utc>>,
}

/// Units by what became of them, as in a history.
#[derive(Serialize, ToSchema)]
struct HourView {
    date: DateTime<Utc>,
    requests: i64,
    successful: i64,
    rate_limited: i64,
    errors: i64,
}

#[derive(Serialize, ToSchema)]
struct EndpointView {
    #[schema(example = "/v1/orders")]
    endpoint: String,
    requests: i64,
}

/// Make a key. Its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "api-keys", request_body = CreateApiKey,
    responses((status = 201, description = "Made.", body = Data<ApiKeyWithSecret>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Json(body): Json<CreateApiKey>,
) -> Result<Response, Problem> {
    let (detail, secret) = app.service.keys().create(tenant_id, body.try_into()?).await?;
    let location = location("/api/v1/api-keys", &detail.key.id);
    Ok((location, with_secret(StatusCode::CREATED, &app, detail, secret.expose())).into_response())
}

/// List keys.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "api-keys", params(ListApiKeys),
    responses((status = 200, description = "A page.", body = List<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Params(query): Params<ListApiKeys>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    let found = app.service.keys().list(tenant_id, &query.into(), page).await?;
    let now = app.service.clock().now();
    Ok(List::of(page, found, |detail| ApiKeyView::new(detail, now)))
}

/// One key.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}", tag = "api-keys", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "The key.", body = Data<ApiKeyWithUsage>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn show(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Id(id): Id<ApiKeyId>,
) -> Result<Response, Problem> {
    let detail = app.service.keys().get(tenant_id, id).await?;
    let usage_stats = app.service.keys().usage(tenant_id, id).await?.into();
    let record = ApiKeyView::new(detail, app.service.clock().now());
    Ok((etag(record.version), Data::json(ApiKeyWithUsage { record, usage_stats })).into_response())
}

/// The record behind a secret. A secret never stands in a URL, so this is a POST.
#[utoipa::path(post, path = "/api/v1/api-keys/lookup", tag = "api-keys", request_body = LookupApiKey,
    responses((status = 200, description = "The key.", body = Data<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn lookup(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Json(body): Json<LookupApiKey>,
) -> Result<Response, Problem> {
    Ok(shown(&app, app.service.keys().by_secret(tenant_id, &body.key).await?))
}

/// Change a key; in force on every node within a second.
#[utoipa::path(put, path = "/api/v1/api-keys/{id}", tag = "api-keys", request_body = UpdateApiKey,
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 200, description = "Changed.", body = Data<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn update(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
    Json(body): Json<UpdateApiKey>,
) -> Result<Response, Problem> {
    Ok(shown(&app, app.service.keys().update(tenant_id, id, &body.into(), version).await?))
}

/// Revoke a key at once and hide it. Its usage and billing history stay.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "api-keys",
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 204, description = "Gone.")), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn delete(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    app.service.keys().delete(tenant_id, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new secret for the same key.
#[utoipa::path(post, path = "/api/v1/api-keys/{id}/rotate", tag = "api-keys", request_body = Option<RotateApiKey>,
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 200, description = "The key with its new secret.", body = Data<ApiKeyWithSecret>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
    Json(body): Json<Option<RotateApiKey>>,
) -> Result<Response, Problem> {
    let grace = body.unwrap_or_default().grace_seconds;
    let (detail, secret) = app.service.keys().rotate(tenant_id, id, grace, version).await?;
    Ok(with_secret(StatusCode::OK, &app, detail, secret.expose()))
}

/// Suspend a key for a while or until it is resumed.
#[utoipa::path(post, path = "/api/v1/api-keys/{id}/suspend", tag = "api-keys", request_body = Option<SuspendApiKey>,
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 200, description = "Suspended.", body = Data<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn suspend(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
    Json(body): Json<Option<SuspendApiKey>>,
) -> Result<Response, Problem> {
    let SuspendApiKey { seconds, reason } = body.unwrap_or_default();
    Ok(shown(&app, app.service.keys().suspend(tenant_id, id, seconds, reason, version).await?))
}

/// End a suspension.
#[utoipa::path(post, path = "/api/v1/api-keys/{id}/resume", tag = "api-keys",
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 200, description = "Active again.", body = Data<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn resume(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
) -> Result<Response, Problem> {
    Ok(shown(&app, app.service.keys().resume(tenant_id, id, version).await?))
}

/// What a key did.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}/stats", tag = "api-keys", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "Totals and the last day.", body = Data<ApiKeyStats>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn stats(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Id(id): Id<ApiKeyId>,
) -> Result<Answer<Data<ApiKeyStats>>, Problem> {
    Ok(Data::json(app.service.keys().stats(tenant_id, id).await?.into()))
}

/// A key's record with its version as `ETag`.
pub(crate) fn shown(app: &App, detail: KeyDetail) -> Response {
    let record = ApiKeyView::new(detail, app.service.clock().now());
    (etag(record.version), Data::json(record)).into_response()
}

fn with_secret(status: StatusCode, app: &App, detail: KeyDetail, secret: &str) -> Response {
    let record = ApiKeyView::new(detail, app.service.clock().now());
    (status, etag(record.version), Data::json(ApiKeyWithSecret { record, key: secret.to_owned() })).into_response()
}

impl TryFrom<CreateApiKey> for NewApiKey {
    type Error = Problem;

    /// Both required members are named when both are missing.
    fn try_from(body: CreateApiKey) -> Result<Self, Problem> {
        let CreateApiKey { name: Some(name), tier: Some(tier), .. } = body else {
            let absent = [("/name", body.name.is_none()), ("/tier", body.tier.is_none())];
            let missing = absent.into_iter().filter(|(_, missing)| *missing);
            let error = |(pointer, _): (&str, bool)| FieldError { pointer: pointer.into(), detail: "required".into() };
            return Err(Problem::invalid(missing.map(error).collect()));
        };
        Ok(Self {
            name,
            tier,
            description: body.description,
            environment: body.environment,
            owner_id: body.owner_id,
            tags: body.tags,
            metadata: body.metadata.0,
            allowed_ips: body.allowed_ips,
            allowed_countries: body.allowed_countries,
            expires_at: body.expires_at.map(|Rfc3339(at)| at),
            limits: body.limits.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<UpdateApiKey> for ApiKeyChange {
    fn from(body: UpdateApiKey) -> Self {
        Self {
            name: body.name,
            description: body.description,
            tier: body.tier,
            status: body.status,
            owner_id: body.owner_id,
            tags: body.tags,
            metadata: body.metadata.map(|FreeForm(members)| members),
            allowed_ips: body.allowed_ips,
            allowed_countries: body.allowed_countries,
            expires_at: body.expires_at.map(|at| at.map(|Rfc3339(at)| at)),
            limits: body.limits.map(|limits| limits.into_iter().map(Into::into).collect()),
        }
    }
}

impl From<ListApiKeys> for KeyFilter {
    fn from(query: ListApiKeys) -> Self {
        Self {
            status: query.status,
            tier: query.tier,
            owner_id: query.owner_id,
            tag: query.tag,
            search: query.search,
            order_by: query.order_by,
            order: query.order,
        }
    }
}

impl From<tollgate_domain::UsageStats> for UsageStats {
    fn from(stats: tollgate_domain::UsageStats) -> Self {
        Self {
            total_requests: stats.total_requests,
            requests_this_month: stats.requests_this_month,
            requests_today: stats.requests_today,
            last_used_at: stats.last_used_at,
        }
    }
}

impl From<KeyStats> for ApiKeyStats {
    fn from(stats: KeyStats) -> Self {
        let day = stats.last_24_hours;
        let asked = day.requests();
        // Counts of a day are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let success_rate = (asked > 0).then(|| day.allowed as f64 / asked as f64);
        Self {
            usage_stats: stats.totals.into(),
            success_rate,
            last_24_hours: stats.hours.into_iter().map(HourView::from).collect(),
            top_endpoints: stats
                .top_endpoints
                .into_iter()
                .map(|(endpoint, requests)| EndpointView { endpoint, requests })
                .collect(),
            violations: stats.violations,
            deleted_at: stats.deleted_at,
        }
    }
}

impl From<(DateTime<Utc>, Counts)> for HourView {
    fn from((date, counts): (DateTime<Utc>, Counts)) -> Self {
        let (requests, rate_limited) = (counts.requests(), counts.refused());
        Self { date, requests, successful: counts.allowed, rate_limited, errors: counts.rejected }
    }
}

/// Tells null (`Some(None)`) from absent (`None`).
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn new_status() -> ObjectBuilder {
    views::one_of_or_null(&[KeyStatus::Active, KeyStatus::Suspended, KeyStatus::Revoked].map(KeyStatus::as_str))
}

fn tags() -> ArrayBuilder {
    ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).max_items(Some(20)).unique_items(true)
}

fn new_tags() -> ArrayBuilder {
    tags().schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
}

fn new_metadata() -> ObjectBuilder {
    views::metadata().schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
}

fn order_by() -> ObjectBuilder {
    views::one_of(&["created_at", "updated_at", "name", "expires_at"])
}

fn order() -> ObjectBuilder {
    views::one_of(&["asc", "desc"])
}

//! Admin tokens: create, list, change, rotate, delete; and the caller's own token.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tollgate_domain::{AdminToken, FieldError, Rfc3339, Scope, TokenId};
use tollgate_service::access::tokens::{NewToken, TokenChange};
use utoipa::{
    IntoParams, ToSchema,
    openapi::schema::{ArrayBuilder, SchemaType, Type},
};

use crate::{
    answers::views::{self, Data, List},
    app::App,
    body::{
        extract::{Id, IfMatch, etag, location, page, present},
        json::Json,
        problem::Problem,
        query::Params,
        whole,
    },
    middleware::auth::{Admin, Can, Maker, Who},
};

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// 1 to 255 characters.
    #[serde(default)]
    #[schema(required, value_type = String, example = "deploy pipeline", min_length = 1, max_length = 255)]
    name: Option<String>,
    /// What it may do; `admin` holds all others.
    #[serde(default)]
    #[schema(required, schema_with = scopes)]
    scopes: Option<Vec<String>>,
    /// Addresses or networks; empty: any.
    #[serde(default)]
    #[schema(example = json!(["192.0.2.0/24"]), max_items = 100)]
    allowed_ips: Vec<String>,
    /// At most 100 years ahead, and no later than that of the token which makes it; null: never.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Rfc3339>,
}

/// A change: what is absent stays as it is, null clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateToken {
    #[schema(example = "deploy pipeline, new", min_length = 1, max_length = 255)]
    name: Option<String>,
    #[schema(schema_with = new_scopes)]
    scopes: Option<Vec<String>>,
    #[schema(max_items = 100)]
    allowed_ips: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Option<Rfc3339>>,
}

/// How long the former secret goes on.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateToken {
    /// At most 30 days.
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 3600, maximum = 2_592_000)]
    grace_seconds: u64,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTokens {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// A token; its secret is never shown again.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenView {
    id: uuid::Uuid,
    #[schema(example = "deploy pipeline")]
    name: String,
    /// How the secret begins.
    #[schema(example = "tgt_admin_4fQz")]
    prefix: String,
    #[schema(schema_with = scopes)]
    scopes: Vec<&'static str>,
    #[schema(example = json!(["192.0.2.0/24"]))]
    allowed_ips: Vec<String>,
    #[schema(schema_with = status)]
    status: &'static str,
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    /// To within a minute.
    #[schema(required)]
    last_used_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
}

/// A token with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenWithSecret {
    #[serde(flatten)]
    record: TokenView,
    #[schema(example = "tgt_admin_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD")]
    token: String,
}

/// The caller's token.
#[derive(Serialize, ToSchema)]
pub(crate) struct Whoami {
    #[serde(flatten)]
    record: TokenView,
    /// Whose data it opens.
    tenant_id: uuid::Uuid,
}

/// Make a token. It grants at most what the caller's has: scopes, networks and expiry. Its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, description = "Made.", body = Data<TokenWithSecret>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Maker(maker): Maker,
    Json(body): Json<CreateToken>,
) -> Result<Response, Problem> {
    let (token, secret) = app.service.tokens().create(&maker, &body.try_into()?).await?;
    let location = location("/api/v1/tokens", &token.id);
    Ok((location, with_secret(StatusCode::CREATED, &app, token, secret.expose())).into_response())
}

/// List tokens, the newest first.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(ListTokens),
    responses((status = 200, description = "A page.", body = List<TokenView>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(tenant_id, ..): Can<Admin>,
    Params(query): Params<ListTokens>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    let found = app.service.tokens().list(tenant_id, page).await?;
    let now = app.service.clock().now();
    Ok(List::of(page, found, |token| TokenView::new(token, now)))
}

/// One token.
#[utoipa::path(get, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = uuid::Uuid, Path, description = "The token's id.")),
    responses((status = 200, description = "The token.", body = Data<TokenView>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn show(
    State(app): State<App>,
    Can(tenant_id, ..): Can<Admin>,
    Id(id): Id<TokenId>,
) -> Result<Response, Problem> {
    Ok(shown(&app, app.service.tokens().get(tenant_id, id).await?))
}

/// Change a token; in force on every node within a second. It gains nothing that the caller's lacks, and the last one with
/// `admin` keeps it.
#[utoipa::path(put, path = "/api/v1/tokens/{id}", tag = "tokens", request_body = UpdateToken,
    params(("id" = uuid::Uuid, Path, description = "The token's id."), IfMatch),
    responses((status = 200, description = "Changed.", body = Data<TokenView>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn update(
    State(app): State<App>,
    Maker(maker): Maker,
    Id(id): Id<TokenId>,
    IfMatch(version): IfMatch,
    Json(body): Json<UpdateToken>,
) -> Result<Response, Problem> {
    Ok(shown(&app, app.service.tokens().update(&maker, id, &body.into(), version).await?))
}

/// End a token; in force on every node within a second. The last one with `admin` stays.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = uuid::Uuid, Path, description = "The token's id."), IfMatch),
    responses((status = 204, description = "Gone.")), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn delete(
    State(app): State<App>,
    Maker(maker): Maker,
    Id(id): Id<TokenId>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    app.service.tokens().delete(&maker, id, version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new secret for the same token.
#[utoipa::path(post, path = "/api/v1/tokens/{id}/rotate", tag = "tokens", request_body = Option<RotateToken>,
    params(("id" = uuid::Uuid, Path, description = "The token's id."), IfMatch),
    responses((status = 200, description = "The token with its new secret.", body = Data<TokenWithSecret>)), extensions(("x-required-scope" = json!("admin"))))]
pub(crate) async fn rotate(
    State(app): State<App>,
    Maker(maker): Maker,
    Id(id): Id<TokenId>,
    IfMatch(version): IfMatch,
    Json(body): Json<Option<RotateToken>>,
) -> Result<Response, Problem> {
    let grace = body.unwrap_or_default().grace_seconds;
    let (token, secret) = app.service.tokens().rotate(&maker, id, grace, version).await?;
    Ok(with_secret(StatusCode::OK, &app, token, secret.expose()))
}

/// The token that this request carries. For any token, whatever its scopes.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "tokens",
    responses((status = 200, description = "The caller's token.", body = Data<Whoami>)))]
pub(crate) async fn whoami(State(app): State<App>, Who(caller): Who) -> Result<Answer<Data<Whoami>>, Problem> {
    let (tenant_id, id) = (caller.tenant_id(), caller.token()?.id);
    let token = app.service.tokens().get(tenant_id, id).await?;
    Ok(Data::json(Whoami { record: TokenView::new(token, app.service.clock().now()), tenant_id: tenant_id.0 }))
}

fn shown(app: &App, token: AdminToken) -> Response {
    let record = TokenView::new(token, app.service.clock().now());
    (etag(record.version), Data::json(record)).into_response()
}

fn with_secret(status: StatusCode, app: &App, token: AdminToken, secret: &str) -> Response {
    let record = TokenView::new(token, app.service.clock().now());
    (status, etag(record.version), Data::json(TokenWithSecret { record, token: secret.to_owned() })).into_response()
}

impl TokenView {
    fn new(token: AdminToken, now: DateTime<Utc>) -> Self {
        Self {
            id: token.id.0,
            status: if token.is_expired(now) { "expired" } else { "active" },
            name: token.name,
            prefix: token.prefix,
            scopes: token.scopes.0.iter().map(|scope| scope.as_str()).collect(),
            allowed_ips: token.allowed_ips.iter().map(ToString::to_string).collect(),
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            created_at: token.created_at,
            updated_at: token.updated_at,
            version: token.version,
        }
    }
}

impl TryFrom<CreateToken> for NewToken {
    type Error = Problem;

    /// Names both required members when both are missing.
    fn try_from(body: CreateToken) -> Result<Self, Problem> {
        let CreateToken { name: Some(name), scopes: Some(scopes), .. } = body else {
            let absent = [("/name", body.name.is_none()), ("/scopes", body.scopes.is_none())];
            let missing = absent.into_iter().filter(|(_, missing)| *missing);
            let error = |(pointer, _): (&str, bool)| FieldError { pointer: pointer.into(), detail: "required".into() };
            return Err(Problem::invalid(missing.map(error).collect()));
        };
        Ok(Self { name, scopes, allowed_ips: body.allowed_ips, expires_at: body.expires_at.map(|Rfc3339(at)| at) })
    }
}

impl From<UpdateToken> for TokenChange {
    fn from(body: UpdateToken) -> Self {
        let expires_at = body.expires_at.map(|at| at.map(|Rfc3339(at)| at));
        Self { name: body.name, scopes: body.scopes, allowed_ips: body.allowed_ips, expires_at }
    }
}

fn scopes() -> ArrayBuilder {
    let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    ArrayBuilder::new()
        .items(views::one_of(&names))
        .min_items(Some(1))
        .max_items(Some(Scope::ALL.len()))
        .unique_items(true)
        .examples([serde_json::json!(["keys:read", "limits:check"])])
}

fn new_scopes() -> ArrayBuilder {
    scopes().schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
}

fn status() -> utoipa::openapi::ObjectBuilder {
    views::one_of(&["active", "expired"])
}

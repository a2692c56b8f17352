//! Rotates, suspends, resumes and deletes a key.

use axum::{extract::State, response::Response};
use hyper::StatusCode;
use serde::Deserialize;
use tollgate_domain::ApiKeyId;
use utoipa::ToSchema;

use super::{ApiKeyWithSecret, shown, with_secret};
use crate::{
    answers::views::{ApiKeyView, Data},
    app::App,
    body::{
        extract::{Id, IfMatch},
        json::Json,
        problem::Problem,
        whole,
    },
    middleware::auth::{Can, KeysWrite},
};

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

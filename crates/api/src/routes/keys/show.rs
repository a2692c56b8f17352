//! Shows one key, by its id or its secret.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tollgate_domain::ApiKeyId;
use utoipa::ToSchema;

use super::shown;
use crate::{
    answers::views::{ApiKeyView, Data},
    app::App,
    body::{
        extract::{Id, etag},
        json::Json,
        problem::Problem,
    },
    middleware::auth::{Can, KeysRead},
};

/// A secret to be looked up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupApiKey {
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
pub(super) struct UsageStats {
    /// Units, admitted or refused, as the next two.
    total_requests: i64,
    requests_this_month: i64,
    requests_today: i64,
    #[schema(required)]
    last_used_at: Option<DateTime<Utc>>,
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

//! The activity of a key.

use axum::{Json as Answer, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tollgate_domain::{ApiKeyId, usage::Counts};
use tollgate_service::keys::KeyStats;
use utoipa::ToSchema;

use super::show::UsageStats;
use crate::{
    answers::views::Data,
    app::App,
    body::{extract::Id, problem::Problem},
    middleware::auth::{Can, KeysRead},
};

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

impl From<KeyStats> for ApiKeyStats {
    fn from(stats: KeyStats) -> Self {
        let day = stats.last_24_hours;
        let asked = day.requests();
        // Counts of a day are far below 2^53, so the conversion is exact.
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

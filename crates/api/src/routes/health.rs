//! Liveness, readiness, and the state of the dependencies.

use std::collections::BTreeMap;

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use tollgate_service::ops::health::METRICS_TYPE;
use utoipa::ToSchema;

use crate::{app::App, body::problem::Problem};

/// What the service depends on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, `degraded` (something is down that it can do without) or `down`.
    #[schema(example = "ok")]
    status: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    dependencies: BTreeMap<&'static str, DependencyView>,
}

#[derive(Serialize, ToSchema)]
struct DependencyView {
    /// `up` or `down`.
    #[schema(example = "up")]
    status: &'static str,
    #[schema(example = "sqlite")]
    kind: String,
    /// Whether the service cannot do without it.
    required: bool,
    #[schema(required, example = 0.21, minimum = 0.0)]
    latency_ms: Option<f64>,
}

/// One word.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    #[schema(example = "ready")]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Every dependency by name, with its latency.
#[utoipa::path(get, path = "/health", tag = "health",
    responses((status = 200, description = "It works.", body = Health), (status = 503, description = "A required dependency is down.", body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Response {
    let found = app.service.ops().health().await;
    let is_down = found.iter().any(|dependency| dependency.required && dependency.state.is_err());
    let is_degraded = found.iter().any(|dependency| dependency.state.is_err());
    let dependencies = found.into_iter().map(|dependency| {
        if let Err(reason) = &dependency.state {
            // A driver's error may name hosts, so it goes to the log and not to the client.
            tracing::warn!(dependency = dependency.name, reason, "a dependency is down");
        }
        let latency_ms = dependency.state.as_ref().ok().map(|latency| latency.as_secs_f64() * 1_000.0);
        let status = if dependency.state.is_ok() { "up" } else { "down" };
        (dependency.name, DependencyView { status, kind: dependency.kind, required: dependency.required, latency_ms })
    });
    let (code, status) = match (is_down, is_degraded) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "down"),
        (false, true) => (StatusCode::OK, "degraded"),
        (false, false) => (StatusCode::OK, "ok"),
    };
    let body = Health { status, version: env!("CARGO_PKG_VERSION"), dependencies: dependencies.collect() };
    (code, Answer(body)).into_response()
}

/// Whether the process lives.
#[utoipa::path(get, path = "/live", tag = "health", responses((status = 200, description = "It does.", body = Status, example = json!({"status": "live"}))))]
pub(crate) async fn live() -> Answer<Status> {
    Answer(Status { status: "live", reason: None })
}

/// Whether traffic may be sent here: not while starting, not while stopping.
#[utoipa::path(get, path = "/ready", tag = "health",
    responses((status = 200, description = "It may.", body = Status), (status = 503, description = "Not now.", body = Status)))]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let not = |status, reason| {
        (StatusCode::SERVICE_UNAVAILABLE, Answer(Status { status, reason: Some(reason) })).into_response()
    };
    if app.service.is_draining() {
        not("draining", "the process was told to stop")
    } else if !app.service.is_prepared() {
        not("starting", "the database is not there yet")
    } else {
        Answer(Status { status: "ready", reason: None }).into_response()
    }
}

/// All metrics, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Prometheus text format.", body = String, content_type = "text/plain",
        example = "# HELP tollgate_checks_total Checks by outcome and how they were decided.\n")))]
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = app.service.ops().metrics_text().await.map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

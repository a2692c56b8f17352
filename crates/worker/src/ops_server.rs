//! Health and metrics of a worker process, on a listener for operators only.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tollgate_http_server::{Limits, Plain, Server};
use tollgate_service::{Service, config::Listen, ops::health::METRICS_TYPE};

/// A probe and a scraper need two; the rest is room for clients that died and whose sockets are still open.
const MAX_CONNECTIONS: usize = 64;
/// Connections that the kernel queues before they are accepted: far more than a probe and a scraper open at once.
const BACKLOG: u32 = 1_024;
/// No client sends a body, and no route reads one.
const MAX_BODY_BYTES: u64 = 1_024;
/// The same as the API's: how long a client may take to read its answer, beyond the request's own time.
const SLOW_CLIENT: Duration = Duration::from_secs(30);
/// How long answers in flight may take once the worker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Binds the first of the name's addresses that the system accepts.
///
/// # Errors
/// Contains the setting's name and the operating system's error.
pub async fn bind(listen: &Listen) -> std::io::Result<TcpListener> {
    let bound = async { tollgate_http_server::bind(listen.resolve().await?, BACKLOG) };
    bound.await.map_err(|error| std::io::Error::new(error.kind(), format!("worker.listen = {listen}: {error}")))
}

/// Serves `/live`, `/ready` and `/metrics` until `shutdown` resolves, with the deadlines of the API's connections.
pub async fn serve(listener: TcpListener, service: Service, shutdown: impl Future<Output = ()>) {
    let (api, seconds) = (&service.config().api, Duration::from_secs);
    let limits = Limits {
        max_connections: MAX_CONNECTIONS,
        max_per_address: MAX_CONNECTIONS,
        max_body_bytes: MAX_BODY_BYTES,
        header_timeout: seconds(api.header_timeout_seconds),
        idle_timeout: seconds(api.idle_timeout_seconds),
        answer_timeout: seconds(api.request_timeout_seconds) + SLOW_CLIENT,
        stop_timeout: STOP_TIMEOUT,
    };
    let routes = Router::new()
        .route("/live", get(async || "live"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(service);
    Server::new(Plain(routes), limits).serve(listener, shutdown).await;
}

async fn ready(State(service): State<Service>) -> (StatusCode, &'static str) {
    match service.is_ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    }
}

async fn metrics(State(service): State<Service>) -> impl IntoResponse {
    match service.ops().metrics_text().await {
        Ok(text) => Ok(([(CONTENT_TYPE, METRICS_TYPE)], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

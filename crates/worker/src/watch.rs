//! Health and metrics of a worker process, on a listener for operators only.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use prometheus::TextEncoder;
use tokio::net::TcpListener;
use tollgate_service::{Service, config::Listen};

/// Binds the first of the name's addresses that can be bound.
///
/// # Errors
/// Names the setting and what the operating system says.
pub async fn bind(listen: &Listen) -> std::io::Result<TcpListener> {
    let bound = async { TcpListener::bind(listen.resolve().await?.as_slice()).await };
    bound.await.map_err(|error| std::io::Error::new(error.kind(), format!("worker.listen = {listen}: {error}")))
}

/// Serves `/live`, `/ready` and `/metrics` until `shutdown` resolves.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/live", get(async || "live"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(service);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

async fn ready(State(service): State<Service>) -> (StatusCode, &'static str) {
    match service.is_ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    }
}

async fn metrics(State(service): State<Service>) -> impl IntoResponse {
    service.ops().refresh_gauges().await;
    let text = TextEncoder::new().encode_to_string(&service.metrics().registry().gather());
    text.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

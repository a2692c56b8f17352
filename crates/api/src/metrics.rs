//! Duration of requests, by route template and class of status. Paths, ids and addresses are never labels.

use std::time::Duration;

use hyper::StatusCode;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// A check takes tens of microseconds; a page of keys some milliseconds.
const BUCKETS: [f64; 17] =
    [5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// The label of requests that match no route.
pub(crate) const NO_ROUTE: &str = "(none)";
/// The path of the hot path.
pub(crate) const VALIDATE: &str = "/api/public/v1/rate-limit/validate";

/// The HTTP metrics, in the same registry as the service's own.
pub(crate) struct HttpMetrics {
    requests: HistogramVec,
    /// Children of the hot path by class of status, resolved once: 2xx, 4xx, 5xx.
    validate: [Histogram; 3],
    /// Counts handlers that panicked.
    pub(crate) panics: IntCounter,
    open: IntGaugeVec,
    refused: IntCounterVec,
    displaced: IntCounterVec,
}

/// The metrics of one listener's connections.
pub(crate) struct ConnectionMetrics {
    pub(crate) open: IntGauge,
    pub(crate) refused: IntCounter,
    pub(crate) displaced: IntCounter,
}

impl HttpMetrics {
    /// The metrics of `listener`, which is `public` or `admin`.
    pub(crate) fn connections(&self, listener: &str) -> ConnectionMetrics {
        ConnectionMetrics {
            open: self.open.with_label_values(&[listener]),
            refused: self.refused.with_label_values(&[listener]),
            displaced: self.displaced.with_label_values(&[listener]),
        }
    }

    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(
            "tollgate_http_request_duration_seconds",
            "Time from a request's headers to its answer.",
        );
        let requests = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["method", "route", "status"])?;
        let panics = IntCounter::new("tollgate_http_panics_total", "Requests whose handler panicked.")?;
        let open = IntGaugeVec::new(Opts::new("tollgate_http_connections", "Open connections."), &["listener"])?;
        let refused = Opts::new(
            "tollgate_http_connections_refused_total",
            "Connections closed at once: their address had as many as it may have.",
        );
        let refused = IntCounterVec::new(refused, &["listener"])?;
        let displaced = Opts::new(
            "tollgate_http_connections_displaced_total",
            "Connections that had been idle longest, closed to make room for new ones.",
        );
        let displaced = IntCounterVec::new(displaced, &["listener"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(panics.clone()))?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(displaced.clone()))?;
        let validate = ["2xx", "4xx", "5xx"].map(|class| requests.with_label_values(&["POST", VALIDATE, class]));
        Ok(Self { requests, validate, panics, open, refused, displaced })
    }

    pub(crate) fn observe(&self, method: &str, route: &str, status: StatusCode, took: Duration) {
        // An invented method must not create a series.
        let known = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"];
        let method = if known.contains(&method) { method } else { "other" };
        self.requests.with_label_values(&[method, route, class(status)]).observe(took.as_secs_f64());
    }

    /// The same as [`HttpMetrics::observe`] for the hot path, without a look-up.
    pub(crate) fn observe_validate(&self, status: StatusCode, took: Duration) {
        let [good, refused, failed] = &self.validate;
        let child = match status.as_u16() {
            ..400 => good,
            400..500 => refused,
            _ => failed,
        };
        child.observe(took.as_secs_f64());
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

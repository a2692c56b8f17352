//! Which web pages may call from a browser.

use std::time::Duration;

use hyper::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, RETRY_AFTER},
};
use tollgate_service::config::Origin;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Longest time that browsers keep a preflight's answer.
const MAX_AGE: Duration = Duration::from_secs(600);

/// None without origins: browsers then refuse by themselves. `*` allows any origin, because credentials are in
/// headers and never in cookies.
pub(crate) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origin = if origins.iter().any(Origin::is_any) {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok()))
    };
    let named = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let exposed = named(&[
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "tollgate-degraded",
        "idempotent-replayed",
    ]);
    let allowed = named(&["x-api-key", "x-request-id", "idempotency-key"]);
    Some(
        CorsLayer::new()
            .allow_origin(origin)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([vec![AUTHORIZATION, CONTENT_TYPE, IF_MATCH], allowed].concat())
            .expose_headers([vec![RETRY_AFTER, ETAG], exposed].concat())
            .max_age(MAX_AGE),
    )
}

//! The outermost layer: request id, time limit, problem bodies, security headers, a metric and a log line.

use std::{any::Any, panic::AssertUnwindSafe, sync::atomic::Ordering, time::Instant};

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use tokio::time::timeout;
use tollgate_http_server::Refusal;

use crate::{
    app::App,
    body::{json, problem::Problem},
    metrics::{NO_ROUTE, VALIDATE},
    middleware::request_id::X_REQUEST_ID,
};

/// Longest path and query together, in bytes (API contract).
pub(crate) const MAX_URL_BYTES: usize = 8 * 1024;
/// The method in the log line of a request that could not be parsed.
const UNREAD: &str = "(unread)";
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// The id of the current request, for handlers that need it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

/// Wraps every route except the hot path.
pub(crate) async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = app.ids.of(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(RequestId(id.clone()));
    let response = match check_url(request.uri()) {
        Err(problem) => problem.into_response(),
        Ok(()) => match timeout(app.request_timeout, caught(&app, next.run(request))).await {
            Ok(response) => response.unwrap_or_else(IntoResponse::into_response),
            Err(_) => Problem::unavailable("the request took too long").into_response(),
        },
    };
    if response.headers().contains_key(X_REQUEST_ID) {
        // The hot path has already finished its own answer.
        return response;
    }
    let (mut response, problem) = rendered(response, &id);
    secure(&mut response);
    say_goodbye(&app, response.headers_mut());
    response.headers_mut().insert(X_REQUEST_ID, id.clone());
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let took = started.elapsed();
    app.metrics.observe(method.as_str(), route, response.status(), took);
    log(&Line { id: &id, method: method.as_str(), route, status: response.status(), problem: problem.as_ref(), took });
    response
}

/// The body of an answer: bytes on the hot path, where axum's own body would be a box around them.
pub(crate) type AnswerBody = Either<Full<Bytes>, Body>;

/// A finished response.
pub(crate) type Answer = hyper::Response<AnswerBody>;

/// Finishes a request of the hot path: the same work as [`envelope`], without a layer.
pub(crate) fn finish_validate(
    app: &App,
    id: HeaderValue,
    started: Instant,
    answer: Result<hyper::Response<Full<Bytes>>, Problem>,
) -> Answer {
    let (mut response, problem) = match answer {
        Ok(response) => (response.map(Either::Left), None),
        Err(problem) => (problem.render(id.to_str().unwrap_or_default()).map(Either::Right), Some(problem)),
    };
    let status = response.status();
    let took = started.elapsed();
    app.metrics.observe_validate(status, took);
    if !status.is_success() || is_sampled(app) {
        log(&Line { id: &id, method: Method::POST.as_str(), route: VALIDATE, status, problem: problem.as_ref(), took });
    }
    let headers = response.headers_mut();
    say_goodbye(app, headers);
    headers.insert(X_REQUEST_ID, id);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Finishes a request that no route may see. `request` is None when it could not be parsed.
pub(crate) fn refuse(app: &App, request: Option<(&Method, &HeaderMap)>, problem: &Problem) -> Answer {
    let started = Instant::now();
    let (method, id) = match request {
        Some((method, headers)) => (method.as_str(), app.ids.of(headers)),
        None => (UNREAD, app.ids.of(&HeaderMap::new())),
    };
    let mut response = problem.render(id.to_str().unwrap_or_default());
    secure(&mut response);
    response.headers_mut().insert(X_REQUEST_ID, id.clone());
    let (status, took) = (response.status(), started.elapsed());
    app.metrics.observe(method, NO_ROUTE, status, took);
    log(&Line { id: &id, method, route: NO_ROUTE, status, problem: Some(problem), took });
    response.map(Either::Right)
}

/// 414 for a URL over the limit.
pub(crate) fn check_url(uri: &Uri) -> Result<(), Problem> {
    let length = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if length <= MAX_URL_BYTES {
        return Ok(());
    }
    Err(url_too_long())
}

impl From<&Refusal> for Problem {
    /// If the known part of the target already exceeds its own limit, the client gets that error.
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Malformed(why) => Self::bad_request(why.clone()),
            Refusal::HeadTooLarge { target_bytes } if *target_bytes > MAX_URL_BYTES => url_too_long(),
            Refusal::HeadTooLarge { .. } => Self::new(refusal.status(), "INVALID_REQUEST", refusal.to_string()),
            Refusal::BodyTooLarge => json::body_too_large(),
        }
    }
}

fn url_too_long() -> Problem {
    let detail = format!("path and query may have at most {MAX_URL_BYTES} bytes");
    Problem::new(StatusCode::URI_TOO_LONG, "INVALID_REQUEST", detail)
}

/// Turns a panic into a 500.
pub(crate) async fn caught<T>(app: &App, answer: impl Future<Output = T>) -> Result<T, Problem> {
    AssertUnwindSafe(answer).catch_unwind().await.map_err(|panic| panicked(app, panic.as_ref()))
}

/// The same for a function that does not wait.
pub(crate) fn caught_now<T>(app: &App, answer: impl FnOnce() -> T) -> Result<T, Problem> {
    std::panic::catch_unwind(AssertUnwindSafe(answer)).map_err(|panic| panicked(app, panic.as_ref()))
}

fn panicked(app: &App, panic: &(dyn Any + Send)) -> Problem {
    app.metrics.panics.inc();
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    Problem::internal(format!("panic: {text}"))
}

/// Writes the body of a problem that a handler returned.
fn rendered(mut response: Response, id: &HeaderValue) -> (Response, Option<Problem>) {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return (response, None) };
    let mut shown = problem.render(id.to_str().unwrap_or_default());
    // Keep the headers that outer layers have added to the empty response (CORS, Allow).
    for (name, value) in response.headers() {
        if !shown.headers().contains_key(name) && name != hyper::header::CONTENT_LENGTH {
            shown.headers_mut().append(name.clone(), value.clone());
        }
    }
    (shown, Some(problem))
}

fn secure(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
}

/// While the node drains, each answer is the last on its connection, so that clients move to other nodes before
/// their idle connections are closed.
fn say_goodbye(app: &App, headers: &mut HeaderMap) {
    if app.service.is_draining() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn is_sampled(app: &App) -> bool {
    app.sample_checks > 0 && app.checks_seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(app.sample_checks)
}

struct Line<'a> {
    id: &'a HeaderValue,
    method: &'a str,
    route: &'a str,
    status: StatusCode,
    problem: Option<&'a Problem>,
    took: std::time::Duration,
}

/// One line per request, with the route's template and never its path, so that no identifier reaches the log.
fn log(line: &Line<'_>) {
    let Line { id, method, route, status, problem, took } = line;
    let (id, status) = (id.to_str().unwrap_or_default(), status.as_u16());
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let code = problem.map(Problem::code);
    match problem.and_then(Problem::cause) {
        Some(cause) => tracing::error!(request_id = id, method, route, status, code, took_us, cause, "request"),
        None if status >= 500 => tracing::warn!(request_id = id, method, route, status, code, took_us, "request"),
        None => tracing::info!(request_id = id, method, route, status, code, took_us, "request"),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, middleware::from_fn_with_state, routing::get};
    use tollgate_domain::Clock;
    use tollgate_service::{Config, Role, Service};
    use tower::ServiceExt;

    use super::*;

    /// A node without a listener.
    async fn app(folder: &std::path::Path) -> App {
        let path = |name: &str| folder.join(name).display().to_string();
        let (database, journal) = (format!("sqlite://{}", path("tollgate.db")), path("journal"));
        let settings = [("database.url", database.as_str()), ("journal.dir", &journal), ("limiter.snapshot", "")];
        let config = Config::with(&settings).unwrap();
        App::new(Service::connect(config, Clock::System, Role::Api).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_becomes_a_500_that_says_nothing_of_it_and_is_counted() {
        let folder = tempfile::TempDir::new().unwrap();
        let app = app(folder.path()).await;
        let panics = get(async || -> &'static str { panic!("the password is 1234") });
        let routes = Router::new().route("/", panics).layer(from_fn_with_state(app.clone(), envelope));
        for count in 1..=2 {
            let request = Request::builder().uri("/").body(Body::empty()).unwrap();
            let response = routes.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 500);
            assert!(response.headers().contains_key("x-request-id"));
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "INTERNAL_ERROR");
            assert!(!problem.to_string().contains("1234"), "{problem}");
            assert_eq!(app.metrics.panics.get(), count);
        }
        app.service.close().await;
    }
}

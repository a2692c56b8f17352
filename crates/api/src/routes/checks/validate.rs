//! The hot path: may this key make this call now? The key is the request's own credential.
//!
//! No layer wraps this route: id, metric, headers and log line are added by hand, so that it costs
//! little more than a bare handler.

use std::{convert::identity, time::Instant};

use axum::{
    BoxError,
    body::{Body, Bytes},
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use http_body_util::Full;
use hyper::{HeaderMap, Uri, header::HeaderValue};
use serde::Deserialize;
use tollgate_domain::{Country, Network};
use tollgate_http_server::Peer;
use tollgate_service::{Attempt, CheckRequest, Error, Progress, check::decide::Waiting};
use utoipa::ToSchema;

use crate::{
    answers::check_response::{Decided, Refused, respond},
    app::App,
    body::{json, problem::Problem, query, whole},
    middleware::{
        auth::{caller_ip, credential},
        envelope::{Answer, caught, caught_now, check_url, finish_validate},
    },
};

/// What a client wants to do. May be absent: one unit with the key in a header.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validate {
    /// Unless it stands in `Authorization` or `X-API-Key`.
    #[schema(example = "tg_live_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD")]
    api_key: Option<String>,
    /// Units; 0 looks without consuming. 1 unless given.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 1, maximum = 1_000_000)]
    requests: Option<u32>,
    /// As you name it, at most 256 characters.
    #[schema(example = "/v1/orders")]
    endpoint: Option<String>,
    #[schema(example = "GET")]
    method: Option<String>,
    /// Whose call it is. Believed from trusted proxies only; of any other sender it is the sender's own address.
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    ip_address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
    /// ISO 3166-1 alpha-2. Believed from trusted proxies only; of any other sender it is unknown.
    #[schema(value_type = Option<String>, example = "DE")]
    country: Option<Country>,
}

/// Check a key and consume from its limits. A refusal is 429 and consumes nothing.
#[utoipa::path(post, path = "/api/public/v1/rate-limit/validate", tag = "checks", request_body = Option<Validate>,
    responses((status = 200, description = "The call may go ahead.", body = Decided<'static>),
        (status = 429, description = "A limit or the quota refuses it.", body = Refused<'static>, content_type = "application/problem+json")))]
pub(crate) async fn validate(State(app): State<App>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    answer(&app, request, peer).await.map(Body::new)
}

/// Answers another method on the same path.
pub(crate) async fn wrong_method(State(app): State<App>, request: Request) -> Response {
    let id = app.ids.of(request.headers());
    finish_validate(&app, id, Instant::now(), Err(Problem::method_not_allowed())).map(Body::new)
}

/// Answers a check. The server calls it without going through the router, and most of it is not a future, because
/// everything that an `async fn` keeps is moved with it.
pub(crate) async fn answer<B>(app: &App, request: hyper::Request<B>, peer: Option<Peer>) -> Answer
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let started = Instant::now();
    let (Parts { uri, headers, .. }, body) = request.into_parts();
    let id = app.ids.of(&headers);
    let begun = match json::read(body).await {
        Ok(body) => caught_now(app, || begin(app, &uri, &headers, &body, peer, &id)).and_then(identity),
        Err(problem) => Err(problem),
    };
    let answer = match begun {
        Ok(Progress::Done(response)) => Ok(response),
        Ok(Progress::Waiting(rest)) => caught(app, finish(app, rest, &id)).await.and_then(identity),
        Err(problem) => Err(problem),
    };
    finish_validate(app, id, started, answer)
}

fn begin<'a>(
    app: &'a App,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    peer: Option<Peer>,
    id: &HeaderValue,
) -> Result<Progress<hyper::Response<Full<Bytes>>, Waiting<'a>>, Problem> {
    Ok(match attempt(app, uri, headers, body, peer)? {
        Progress::Done(outcome) => Progress::Done(respond(&outcome?, app.headers, text(id))?),
        Progress::Waiting(rest) => Progress::Waiting(rest),
    })
}

async fn finish(app: &App, rest: Waiting<'_>, id: &HeaderValue) -> Result<hyper::Response<Full<Bytes>>, Problem> {
    respond(&rest.await?, app.headers, text(id))
}

fn attempt<'a>(
    app: &'a App,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    peer: Option<Peer>,
) -> Result<Attempt<'a>, Problem> {
    check_url(uri)?;
    query::check(uri, &[])?;
    if !app.service.is_prepared() {
        return Err(Problem::unavailable("the service is starting"));
    }
    let body =
        if body.is_empty() { Validate::default() } else { json::parse::<Option<Validate>>(body)?.unwrap_or_default() };
    let secret = credential(headers, body.api_key.as_deref())?.ok_or(Error::InvalidCredential)?;
    let sender = peer.map(|peer| caller_ip(app, headers, peer));
    let speaks_for_others = sender.is_some_and(|sender| Network::any_contains(&app.trusted_proxies, sender));
    let request = CheckRequest {
        requests: body.requests.unwrap_or(1),
        endpoint: body.endpoint,
        method: body.method,
        ip: body.ip_address.filter(|_| speaks_for_others).or(sender),
        user_agent: body.user_agent,
        country: body.country.filter(|_| speaks_for_others),
    };
    Ok(app.service.checks().validate(secret, request))
}

fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

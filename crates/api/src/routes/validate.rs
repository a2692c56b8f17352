//! The hot path: may this key make this call now? The key under test is the credential.
//!
//! No layer wraps this route: id, metric, headers and log line are added by hand, so that it costs little more than a bare
//! handler.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use hyper::header::HeaderValue;
use serde::Deserialize;
use tollgate_service::{CheckRequest, Error};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{credential, request_ip},
    decided::{Decided, Refused, respond},
    edge::{caught, check_url, finish_validate},
    json,
    problem::Problem,
    routes::checks::Call,
};

/// What a client wants to do. May be absent: one unit with the key in a header.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validate {
    /// Unless it stands in `Authorization` or `X-API-Key`.
    #[schema(example = "tg_live_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD")]
    api_key: Option<String>,
    /// Units; 0 looks without consuming. 1 unless given.
    #[schema(example = 1, maximum = 1_000_000)]
    requests: Option<u32>,
    /// As you name it, at most 256 bytes.
    #[schema(example = "/v1/orders")]
    endpoint: Option<String>,
    #[schema(example = "GET")]
    method: Option<String>,
    /// Whose call it is; the address of this request's sender unless given.
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    ip_address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    country: Option<String>,
}

/// Check a key and consume from its limits. A refusal is 429 and consumes nothing.
#[utoipa::path(post, path = "/api/public/v1/rate-limit/validate", tag = "checks", request_body = Option<Validate>,
    responses((status = 200, description = "The call may go ahead.", body = Decided<'static>),
        (status = 429, description = "A limit or the quota refuses it.", body = Refused<'static>, content_type = "application/problem+json")))]
pub(crate) async fn validate(State(app): State<App>, request: Request) -> Response {
    let started = Instant::now();
    let id = app.ids.of(request.headers());
    let response = caught(&app, decide(&app, request, &id)).await;
    finish_validate(&app, id, started, response)
}

/// Another method on the same path.
pub(crate) async fn wrong_method(State(app): State<App>, request: Request) -> Response {
    let id = app.ids.of(request.headers());
    finish_validate(&app, id, Instant::now(), Problem::method_not_allowed().into_response())
}

async fn decide(app: &App, request: Request, id: &HeaderValue) -> Response {
    match try_decide(app, request, id).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn try_decide(app: &App, request: Request, id: &HeaderValue) -> Result<Response, Problem> {
    check_url(request.uri())?;
    if !app.service.is_prepared() {
        return Err(Problem::unavailable("the service is starting"));
    }
    let (parts, body) = request.into_parts();
    let body = json::read(body).await?;
    let body =
        if body.is_empty() { Validate::default() } else { json::parse::<Option<Validate>>(&body)?.unwrap_or_default() };
    let secret = credential(&parts.headers, body.api_key.as_deref())?.ok_or(Error::InvalidCredential)?;
    let ip = body.ip_address.or_else(|| request_ip(app, &parts.headers, &parts.extensions));
    let call = Call {
        requests: body.requests,
        endpoint: body.endpoint,
        method: body.method,
        ip_address: ip,
        user_agent: body.user_agent,
        country: body.country,
    };
    let checked = app.service.validate(secret, &CheckRequest::from(call)).await?;
    Ok(respond(&checked, app.headers, app.service.clock().now(), id.to_str().unwrap_or_default()))
}

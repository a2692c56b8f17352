//! The whole route table.

use axum::{
    Router,
    body::Body,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use http_body_util::Either;
use hyper::{
    HeaderMap, Method, Request,
    body::Incoming,
    header::{ALLOW, HeaderValue},
};
use tollgate_http_server::{HttpService, Peer, Refusal};
use tower::Service;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    body::{
        problem::Problem,
        query::{QueryNames, known_parameters},
    },
    metrics::VALIDATE,
    middleware::{
        auth::authenticate,
        cors,
        envelope::{self, Answer, AnswerBody, envelope},
        idempotency::idempotent,
    },
    openapi,
};

mod billing;
mod checks;
mod events;
mod health;
mod jobs;
mod keys;
mod plans;
mod rate_limit;
mod tokens;
mod usage;

/// What a listener serves: the router, and the hot path, which bypasses it.
pub(crate) struct Routes {
    router: Router,
    /// Set when the hot path bypasses the router.
    hot: Option<App>,
    /// Names and counts refusals.
    app: App,
}

impl HttpService for Routes {
    type Body = AnswerBody;

    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        match &self.hot {
            Some(app) if request.uri().path() == VALIDATE && request.method() == Method::POST => {
                checks::validate::answer(app, request, Some(peer)).await
            }
            _ => Box::pin(self.route(request, peer)).await,
        }
    }

    fn refuse(&self, head: Option<(&Method, &HeaderMap)>, refusal: &Refusal) -> Answer {
        envelope::refuse(&self.app, head, &refusal.into())
    }
}

impl Routes {
    async fn route(&self, mut request: Request<Incoming>, peer: Peer) -> Answer {
        request.extensions_mut().insert(peer);
        let Ok(response) = self.router.clone().call(request.map(Body::new)).await;
        response.map(Either::Right)
    }
}

/// `/api/v1`: for a token, or for a client's own key where it may read about itself.
fn management() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(keys::create::create, keys::list::list))
        .routes(routes!(keys::show::lookup))
        .routes(routes!(keys::show::show, keys::update::update, keys::state::delete))
        .routes(routes!(keys::state::rotate))
        .routes(routes!(keys::state::suspend))
        .routes(routes!(keys::state::resume))
        .routes(routes!(keys::stats::stats))
        .routes(routes!(plans::create, plans::list))
        .routes(routes!(plans::show, plans::update, plans::delete))
        .routes(routes!(checks::check::check))
        .routes(routes!(checks::check::check_batch))
        .routes(routes!(checks::check::preview))
        .routes(routes!(rate_limit::own_info))
        .routes(routes!(rate_limit::info))
        .routes(routes!(rate_limit::reset))
        .routes(routes!(rate_limit::reset_one))
        .routes(routes!(rate_limit::change))
        .routes(routes!(rate_limit::violations))
        .routes(routes!(usage::current))
        .routes(routes!(usage::history))
        .routes(routes!(usage::limits))
        .routes(routes!(events::take_events))
        .routes(routes!(billing::preview::preview))
        .routes(routes!(billing::records::current))
        .routes(routes!(billing::records::list))
        .routes(routes!(billing::records::show))
        .routes(routes!(billing::records::void))
        .routes(routes!(billing::records::pay))
        .routes(routes!(billing::records::close))
        .routes(routes!(billing::summary::summary))
        .routes(routes!(billing::reconciliation::findings))
        .routes(routes!(billing::reconciliation::reconcile))
        .routes(routes!(billing::reconciliation::acknowledge))
        .routes(routes!(billing::credits::create, billing::credits::list))
        .routes(routes!(billing::credits::show))
        .routes(routes!(billing::credits::void))
        .routes(routes!(billing::credits::balance))
        .routes(routes!(billing::export::export))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::show, tokens::update, tokens::delete))
        .routes(routes!(tokens::rotate))
        .routes(routes!(tokens::whoami))
        .routes(routes!(jobs::dead))
        .routes(routes!(jobs::retry))
}

/// Probes, without a token.
fn probes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health::health)).routes(routes!(health::live)).routes(routes!(health::ready))
}

fn metrics() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health::metrics))
}

/// The hot path, where the checked key is the credential.
fn hot() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(checks::validate::validate))
}

/// Everything that the public listener serves. It has `/metrics` only when there is no admin listener.
pub(crate) fn public(app: &App) -> Routes {
    let config = &app.service.config().api;
    let open = if config.admin_listen.0.is_some() { probes() } else { probes().merge(metrics()) };
    let [(hot, hot_paths), (management, paths), (open, open_paths)] =
        [hot(), management(), open].map(OpenApiRouter::split_for_parts);
    let mut document = openapi::document([hot_paths, paths, open_paths]);
    let names = QueryNames::of(&mut document);
    let management = management
        .layer(from_fn_with_state(app.clone(), idempotent))
        .layer(from_fn_with_state(names.clone(), known_parameters))
        .layer(from_fn_with_state(app.clone(), authenticate));
    let open = open.layer(from_fn_with_state(names, known_parameters));
    let hot = hot.method_not_allowed_fallback(checks::validate::wrong_method);
    let rest = around(management.merge(open).merge(openapi::routes(document)), app);
    let (router, past) = match cors::layer(&config.cors_origins) {
        // Only browsers need a layer around the hot path.
        Some(cors) => (rest.merge(hot.layer(cors).layer(from_fn_with_state(app.clone(), envelope))), None),
        None => (rest.merge(hot), Some(app.clone())),
    };
    Routes { router: router.with_state(app.clone()), hot: past, app: app.clone() }
}

/// Everything that the admin listener serves.
pub(crate) fn admin(app: &App) -> Routes {
    let (router, mut paths) = probes().merge(metrics()).split_for_parts();
    let names = QueryNames::of(&mut paths);
    let router = router.layer(from_fn_with_state(names, known_parameters));
    Routes { router: around(router, app).with_state(app.clone()), hot: None, app: app.clone() }
}

/// The layers around every route except the hot path.
fn around(router: Router<App>, app: &App) -> Router<App> {
    let router = router.method_not_allowed_fallback(async || Problem::method_not_allowed()).fallback(no_route);
    let router = match cors::layer(&app.service.config().api.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn_with_state(app.clone(), envelope))
}

/// 404, or 405 for a method that no route has.
async fn no_route(method: Method) -> Response {
    const KNOWN: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS];
    if KNOWN.contains(&method) {
        return Problem::no_route().into_response();
    }
    let allowed = HeaderValue::from_static("GET,HEAD,POST,PUT,DELETE");
    ([(ALLOW, allowed)], Problem::method_not_allowed()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    /// Every operation of the document with its path and method.
    fn operations() -> Vec<(String, String, Value)> {
        let parts = [hot(), management(), probes(), metrics()].map(|router| router.split_for_parts().1);
        let document = serde_json::to_value(openapi::document(parts)).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap().clone();
        let methods = |(path, item): (String, Value)| {
            let item = item.as_object().unwrap().clone();
            item.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
        };
        paths.into_iter().flat_map(methods).collect()
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: Vec<_> =
            operations().into_iter().map(|(.., operation)| operation["operationId"].to_string()).collect();
        let distinct: HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), distinct.len(), "{names:?}");
    }

    #[test]
    fn every_management_operation_says_which_scope_it_needs_and_that_it_may_refuse() {
        for (path, method, operation) in operations().into_iter().filter(|(path, ..)| path.starts_with("/api/v1/")) {
            let scope = operation["x-required-scope"].as_str().map(str::parse::<tollgate_domain::Scope>);
            let needs_none = ["/api/v1/rate-limit/info", "/api/v1/whoami"].contains(&path.as_str());
            assert!(if needs_none { scope.is_none() } else { matches!(scope, Some(Ok(_))) }, "{method} {path}");
            for status in ["401", "403", "500", "503"] {
                assert!(operation["responses"].get(status).is_some(), "{method} {path}: {status}");
            }
            let is_write = method != "get";
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            assert_eq!(parameters.iter().any(|p| p["name"] == "Idempotency-Key"), is_write, "{method} {path}");
        }
    }
}

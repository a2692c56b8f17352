//! The OpenAPI 3.1 document, generated from the handlers, and the page that shows it.
//!
//! This adds what all operations have in common (problems, headers, who may call), the bounds of members that have the
//! same name everywhere, and the examples, so that no handler repeats them.

mod examples;
mod responses;
mod words;

use axum::{
    Router,
    middleware::map_response,
    response::{IntoResponse, Response},
};
use hyper::{
    Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue},
};
use tollgate_domain::text::{IDEMPOTENCY_KEY, TextBounds};
use utoipa::{
    OpenApi as _,
    openapi::{
        Components, OpenApi, RefOr, SecurityRequirement,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    app::App,
    body::problem::{Body, Problem, WrongField},
};

/// Visible ASCII, with spaces only inside.
const IDEMPOTENCY_KEY_PATTERN: &str = "^[!-~]([ -~]*[!-~])?$";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Tollgate", description = "May this key call now, how much has it used, what does it owe?"),
    components(schemas(Body<'static>, WrongField)),
    tags(
        (name = "checks", description = "May this key make this call now?"),
        (name = "api-keys", description = "Keys and their secrets."),
        (name = "plans", description = "What a tier of keys may do and what it costs."),
        (name = "rate-limit", description = "Where limits stand; changing and resetting them."),
        (name = "usage", description = "What keys used."),
        (name = "billing", description = "What keys owe: records, their payment, previews and exports."),
        (name = "credits", description = "Amounts granted in advance, which pay records."),
        (name = "tokens", description = "Who may manage all of this, and how much of it."),
        (name = "jobs", description = "Background jobs that failed."),
        (name = "health", description = "For load balancers and monitoring."),
    )
)]
struct Common;

/// Properties of an operation that determine its responses.
struct Traits {
    /// It takes a body.
    has_body: bool,
    /// It reads a body, if only to distinguish a repeated request from another one.
    reads_body: bool,
    has_credential: bool,
    is_management: bool,
    /// It decides a check.
    is_check: bool,
    /// It names a resource that may not exist.
    names_thing: bool,
    is_write: bool,
    has_if_match: bool,
    shows_version: bool,
}

/// One document for the paths of all routers.
pub(crate) fn document(parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let mut document = Common::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    parts.into_iter().for_each(|part| document.merge(part));
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert("bearer".into(), bearer.into());
    components.security_schemes.insert("api_key".into(), header.into());
    words::apply_all(components);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, &method, operation, components);
        }
    }
    document
}

/// A path's operations by method.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, post, put, delete, .. } = item;
    let all = [(Method::GET, get), (Method::POST, post), (Method::PUT, put), (Method::DELETE, delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn complete(path: &str, method: &Method, operation: &mut Operation, components: &Components) {
    let is_management = path.starts_with("/api/v1/");
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let has = |place: ParameterIn, name: Option<&str>| {
        parameters.clone().any(|p| p.parameter_in == place && name.is_none_or(|name| p.name == name))
    };
    let has_body = operation.request_body.is_some();
    let is_write = is_management && *method != Method::GET;
    let of = Traits {
        has_body,
        reads_body: has_body || is_write,
        has_credential: path.starts_with("/api/"),
        is_management,
        is_check: operation.responses.responses.contains_key("429"),
        names_thing: is_management && (has(ParameterIn::Path, None) || has_body),
        is_write,
        has_if_match: has(ParameterIn::Header, Some("If-Match")),
        shows_version: responses::shows_version(components, &operation.responses),
    };
    responses::complete(&of, &mut operation.responses);
    responses::exemplify(components, &mut operation.responses);
    if of.has_credential {
        let schemes = ["bearer", "api_key"].map(|scheme| SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []));
        // Outside of the management API the credential may be in the body instead.
        let elsewhere = (!is_management).then(SecurityRequirement::default);
        operation.security = Some(schemes.into_iter().chain(elsewhere).collect());
    }
    if of.is_write {
        operation.parameters.get_or_insert_default().push(idempotency_key().into());
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { name, parameter_in, schema: Some(schema), .. }) = parameter {
            let owner = if *parameter_in == ParameterIn::Query { words::QUERY } else { words::PATH };
            words::apply(owner, name, schema);
        }
    }
    let tag = operation.tags.iter().flatten().next().map(|tag| tag.replace('-', "_"));
    if let (Some(id), Some(tag)) = (&mut operation.operation_id, tag) {
        *id = format!("{tag}_{id}");
    }
    describe_scope(operation);
}

/// The scope is also in the description, for people.
fn describe_scope(operation: &mut Operation) {
    let scope = operation.extensions.as_ref().and_then(|all| all.get("x-required-scope")?.as_str().map(str::to_owned));
    let Some(scope) = scope else { return };
    let needs = format!("Needs the scope `{scope}`.");
    let before = operation.description.take().filter(|text| !text.is_empty());
    operation.description = Some(before.map_or_else(|| needs.clone(), |text| format!("{text}\n\n{needs}")));
}

fn idempotency_key() -> Parameter {
    let TextBounds { least, most } = IDEMPOTENCY_KEY;
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(least))
        .max_length(Some(most))
        .pattern(Some(IDEMPOTENCY_KEY_PATTERN));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some("A repeat with the same key, body and If-Match gets the first answer again, for 24 hours."))
        .schema(Some(text.build()))
        .build()
}

/// Serves `/openapi.json`, and `/docs` with its assets from inside the binary.
pub(crate) fn routes(document: OpenApi) -> Router<App> {
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", document)).layer(map_response(own_assets))
}

/// Also replaces the 404 of a missing asset by ours. The page loads its own scripts and styles, and
/// writes styles into its elements.
async fn own_assets(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::no_route().into_response();
    }
    let headers = response.headers_mut();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                  connect-src 'self'; font-src 'self'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

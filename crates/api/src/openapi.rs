//! The OpenAPI 3.1 document, generated from the handlers, and the page that shows it.
//!
//! What every operation has in common (problems, the request id, who may call) is added here and not repeated at each.

use axum::{
    Router,
    middleware::map_response,
    response::{IntoResponse, Response},
};
use hyper::{
    Method, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue},
};
use utoipa::{
    OpenApi as _,
    openapi::{
        ContentBuilder, HeaderBuilder, OpenApi, RefOr, ResponseBuilder, SecurityRequirement,
        path::{Operation, ParameterBuilder, ParameterIn, PathItem},
        schema::{ObjectBuilder, Ref, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    app::App,
    problem::{Body, Problem, WrongField},
};

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
        (name = "tokens", description = "Who may manage all of this, and how much of it."),
        (name = "jobs", description = "Background jobs that failed."),
        (name = "health", description = "For load balancers and monitoring."),
    )
)]
struct Common;

/// The problems that an operation may answer, and which operations may.
const PROBLEMS: [(&str, &str, Applies); 12] = [
    ("400", "Not JSON, or a wrong query parameter: INVALID_REQUEST.", |of| of.has_body || of.has_query),
    ("401", "No credential that is valid: INVALID_API_KEY.", |of| of.has_credential),
    (
        "403",
        "The credential may not: FORBIDDEN, API_KEY_EXPIRED, API_KEY_REVOKED, API_KEY_SUSPENDED, IP_NOT_ALLOWED, COUNTRY_NOT_ALLOWED.",
        |of| of.has_credential,
    ),
    ("404", "No such thing, or not yours: NOT_FOUND.", |of| of.names_thing),
    ("408", "The body took too long: INVALID_REQUEST.", |of| of.has_body),
    ("409", "A conflict of state, or the same Idempotency-Key is still running: CONFLICT.", |of| of.is_write),
    ("412", "If-Match names another version: CONFLICT.", |of| of.has_if_match),
    ("413", "The body is larger than 64 KiB: INVALID_REQUEST.", |of| of.has_body),
    ("414", "The URL is longer than 8 KiB: INVALID_REQUEST.", |_| true),
    (
        "422",
        "Wrong fields, each named in errors; or the Idempotency-Key was used with another request: INVALID_REQUEST.",
        |of| of.has_body || of.is_write,
    ),
    ("500", "A bug: INTERNAL_ERROR.", |_| true),
    ("503", "A store that is needed is down; see Retry-After: UNAVAILABLE.", |of| of.has_credential),
];

/// Whether an operation may answer with a problem.
type Applies = fn(&Traits) -> bool;

/// What an operation is like.
struct Traits {
    has_body: bool,
    has_query: bool,
    has_credential: bool,
    names_thing: bool,
    is_write: bool,
    has_if_match: bool,
}

/// One document of all routers' paths.
pub(crate) fn document(parts: impl IntoIterator<Item = OpenApi>) -> OpenApi {
    let mut document = Common::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    parts.into_iter().for_each(|part| document.merge(part));
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert("bearer".into(), bearer.into());
    components.security_schemes.insert("api_key".into(), header.into());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, &method, operation);
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

fn complete(path: &str, method: &Method, operation: &mut Operation) {
    let is_management = path.starts_with("/api/v1/");
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let has = |place: ParameterIn, name: Option<&str>| {
        parameters.clone().any(|p| p.parameter_in == place && name.is_none_or(|name| p.name == name))
    };
    let of = Traits {
        has_body: operation.request_body.is_some(),
        has_query: has(ParameterIn::Query, None),
        has_credential: path.starts_with("/api/"),
        names_thing: is_management && (has(ParameterIn::Path, None) || operation.request_body.is_some()),
        is_write: is_management && *method != Method::GET,
        has_if_match: has(ParameterIn::Header, Some("If-Match")),
    };
    for (status, description, applies) in PROBLEMS {
        if applies(&of) && !operation.responses.responses.contains_key(status) {
            operation.responses.responses.insert(status.to_owned(), RefOr::T(problem(description)));
        }
    }
    let id = || HeaderBuilder::new().description(Some("The request's id; your own if you sent a fitting one.")).build();
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert("X-Request-Id".into(), id().into());
        }
    }
    if of.has_credential {
        let schemes = ["bearer", "api_key"].map(|scheme| SecurityRequirement::new::<_, [&str; 0], &str>(scheme, []));
        operation.security = Some(schemes.to_vec());
    }
    if of.is_write {
        let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255)).build();
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some("A repeat with the same key and body gets the first answer again, for 24 hours."))
            .schema(Some(text))
            .build();
        operation.parameters.get_or_insert_default().push(key.into());
    }
    let tag = operation.tags.iter().flatten().next().map(|tag| tag.replace('-', "_"));
    if let (Some(id), Some(tag)) = (&mut operation.operation_id, tag) {
        *id = format!("{tag}_{id}");
    }
    describe_scope(operation);
}

/// The scope stands in the description too, for people.
fn describe_scope(operation: &mut Operation) {
    let scope = operation.extensions.as_ref().and_then(|all| all.get("x-required-scope")?.as_str().map(str::to_owned));
    let Some(scope) = scope else { return };
    let needs = format!("Needs the scope `{scope}`.");
    let before = operation.description.take().filter(|text| !text.is_empty());
    operation.description = Some(before.map_or_else(|| needs.clone(), |text| format!("{text}\n\n{needs}")));
}

fn problem(description: &str) -> utoipa::openapi::Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", body).build()
}

/// `/openapi.json`, and `/docs` with its assets from inside the binary.
pub(crate) fn routes(document: OpenApi) -> Router<App> {
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", document)).layer(map_response(own_assets))
}

/// Also says in our words that an asset is not there. The page loads its own scripts and styles, and writes styles into its elements.
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

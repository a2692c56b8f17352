//! Query parameters: those that the document names for the operation, without control characters; anything else is 400.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{Method, Uri};
use serde::de::DeserializeOwned;
use tollgate_domain::text;
use utoipa::openapi::{OpenApi, RefOr, path::ParameterIn};

use crate::{
    body::{problem::Problem, wrong_fields},
    openapi::operations,
};

/// The query, parsed as a `T`.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let read = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        read.map(Self).map_err(|error| wrong(&error))
    }
}

/// Names the wrong parameter and what it may be, but not its value.
fn wrong(error: &serde_path_to_error::Error<serde_urlencoded::de::Error>) -> Problem {
    let message = error.inner().to_string();
    // serde names these two in the message, not in the path.
    let in_message = ["duplicate field `", "missing field `"].iter().find_map(|start| message.strip_prefix(*start));
    let named = in_message.and_then(|rest| rest.strip_suffix('`'));
    let name = named.map_or_else(|| error.path().to_string(), str::to_owned);
    // The standard library's errors about a number.
    let is_number =
        ["invalid digit", "cannot parse integer", "number too"].iter().any(|start| message.starts_with(start));
    let detail = if is_number { "expected a whole number".into() } else { wrong_fields::detail(&message) };
    Problem::bad_request(format!("{name}: {detail}"))
}

/// The query parameters that each operation of a document takes.
#[derive(Clone)]
pub(crate) struct QueryNames(Arc<HashMap<(Method, String), Vec<String>>>);

impl QueryNames {
    pub(crate) fn of(document: &mut OpenApi) -> Self {
        let mut names = HashMap::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let in_query = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
                    RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter.name.clone()),
                    _ => None,
                });
                names.insert((method, path.clone()), in_query.collect());
            }
        }
        Self(Arc::new(names))
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let Some(route) = request.extensions().get::<MatchedPath>() else { return Ok(()) };
        let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
        // A method that does not exist is answered 405 later.
        self.0.get(&(method, route.as_str().to_owned())).map_or(Ok(()), |known| check(request.uri(), known))
    }
}

/// Refuses a request whose query has a parameter that its operation does not take.
pub(crate) async fn known_parameters(State(names): State<QueryNames>, request: Request, next: Next) -> Response {
    match names.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// 400 unless the query has only parameters of these names, and no control characters.
pub(crate) fn check(uri: &Uri, known: &[String]) -> Result<(), Problem> {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return Ok(()) };
    if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
        return Err(Problem::bad_request("the query is not UTF-8"));
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !known.iter().any(|known| *known == name) {
            let detail = match known {
                [] => "an unknown query parameter: there are none here".to_owned(),
                known => format!("an unknown query parameter: there are {}", known.join(", ")),
            };
            return Err(Problem::bad_request(detail));
        }
        if !text::is_plain(&value) {
            return Err(Problem::bad_request(format!("{name}: no control characters")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read is asked")]
    struct Sample {
        page: Option<u32>,
        order: Option<Order>,
        search: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Order {
        Asc,
        Desc,
    }

    async fn refused(query: &str) -> String {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let known = ["page", "order", "search"].map(str::to_owned);
        let (mut parts, ()) = hyper::Request::builder().uri(&uri).body(()).unwrap().into_parts();
        let read = match check(&uri, &known) {
            Ok(()) => Params::<Sample>::from_request_parts(&mut parts, &()).await.map(|_| ()),
            Err(problem) => Err(problem),
        };
        read.map_or_else(|problem| format!("{problem:?}"), |()| String::new())
    }

    #[derive(Debug, Deserialize)]
    struct Needed {
        #[expect(dead_code, reason = "only whether it can be read is asked")]
        owner_id: String,
    }

    #[tokio::test]
    async fn a_parameter_that_is_missing_is_named() {
        let (mut parts, ()) = hyper::Request::builder().uri("/").body(()).unwrap().into_parts();
        let problem = Params::<Needed>::from_request_parts(&mut parts, &()).await.map(|_| ()).unwrap_err();
        assert!(format!("{problem:?}").contains("owner_id: required"), "{problem:?}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_and_its_value_is_not() {
        for (query, words) in [
            ("page=SECRET", "page: expected a whole number"),
            ("page=-1", "page: expected a whole number"),
            ("page=", "page: expected a whole number"),
            ("page=99999999999", "page: expected a whole number"),
            ("order=SECRET", r#"order: expected \"asc\" or \"desc\""#),
            ("page=1&page=2", "page: given twice"),
            ("search=SECRET%00", "search: no control characters"),
            ("search=a%0ab", "search: no control characters"),
            ("search=%ff", "not UTF-8"),
            ("SECRET=1", "unknown query parameter: there are page, order, search"),
            ("page=1&SECRET", "unknown query parameter: there are page, order, search"),
        ] {
            let problem = refused(query).await;
            assert!(problem.contains(words) && !problem.contains("SECRET"), "{query}: {problem}");
        }
        for fine in ["", "page=1&order=asc", "search=%C3%A9+x", "search=", "&&", "search=100%"] {
            assert_eq!(refused(fine).await, "", "{fine}");
        }
    }
}

//! Authentication: the credential of a request, and the caller behind it.

use std::{marker::PhantomData, net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{Extensions, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName},
};
use tollgate_domain::{AdminToken, Scope, TenantId};
use tollgate_http_server::Peer;
use tollgate_service::{Caller, Error};

use crate::{
    answers::check_response::{headers, limits_text},
    app::App,
    body::problem::Problem,
    middleware::client_ip::client_ip,
};

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The caller, which [`authenticate`] adds to the request.
pub(crate) struct Who(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(|| Problem::internal("a route that needs a caller is outside of authenticate"))
    }
}

/// The tenant of a caller that has the scope `S`. It comes before the body in a handler's arguments, so that a caller
/// without the scope gets 403 whatever the body is.
pub(crate) struct Can<S>(pub(crate) TenantId, pub(crate) PhantomData<S>);

/// A scope as a type.
pub(crate) trait Needs: Send {
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident),+ $(,)?) => {
        $(
            pub(crate) struct $name;

            impl Needs for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )+
    };
}

scopes! { KeysRead, KeysWrite, LimitsCheck, LimitsWrite, UsageRead, BillingRead, BillingWrite, Admin }

impl<N: Needs, S: Sync> FromRequestParts<S> for Can<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Who(caller) = Who::from_request_parts(parts, state).await?;
        Ok(Self(caller.require(N::SCOPE)?, PhantomData))
    }
}

/// A caller that may change prices, or the rest of a plan, or both: what is changed decides which.
pub(crate) struct PlanWriter(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for PlanWriter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Who(caller) = Who::from_request_parts(parts, state).await?;
        if caller.require(Scope::BillingWrite).is_err() {
            caller.require(Scope::KeysWrite)?;
        }
        Ok(Self(caller))
    }
}

/// The token of a caller that may create and change tokens.
pub(crate) struct Maker(pub(crate) Arc<AdminToken>);

impl<S: Sync> FromRequestParts<S> for Maker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Who(caller) = Who::from_request_parts(parts, state).await?;
        caller.require(Scope::Admin)?;
        Ok(Self(Arc::clone(caller.token()?)))
    }
}

/// Admits a request with a valid credential. A client that calls with its own key gets
/// that key's limits in the headers.
pub(crate) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if !app.service.is_prepared() {
        return Problem::unavailable("the service is starting").into_response();
    }
    let ip = request_ip(&app, request.headers(), request.extensions());
    let caller = match identify(&app, request.headers(), ip).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    if let Caller::Key(known_key) = caller
        && let Ok(outcome) = app.service.checks().peek(known_key, 1).await
    {
        let texts = limits_text(&outcome.known_key.counted.limits);
        headers::insert(response.headers_mut(), &outcome, texts, app.headers, &mut BytesMut::new());
    }
    response
}

async fn identify(app: &App, headers: &HeaderMap, ip: Option<IpAddr>) -> Result<Caller, Problem> {
    let credential = credential(headers, None)?.ok_or(Error::InvalidCredential)?;
    Ok(app.service.access().authenticate(credential, ip).await?)
}

/// The only credential of a request: in `Authorization: Bearer`, `X-API-Key` or the body. The same one given twice
/// counts once; two different ones are 400; none is `None`.
pub(crate) fn credential<'a>(headers: &'a HeaderMap, in_body: Option<&'a str>) -> Result<Option<&'a str>, Problem> {
    let bearer = headers.get_all(AUTHORIZATION).into_iter().filter_map(|value| bearer(value.to_str().ok()?));
    // A header that is not text cannot be a credential, but must still differ from one.
    let plain = headers.get_all(X_API_KEY).into_iter().map(|value| value.to_str().unwrap_or_default().trim());
    let mut found = None;
    for credential in bearer.chain(plain).chain(in_body) {
        match found {
            None => found = Some(credential),
            Some(first) if first == credential => {}
            Some(_) => return Err(Problem::bad_request("the request carries two different credentials")),
        }
    }
    Ok(found)
}

/// The token of the Bearer scheme (RFC 6750), whose name is case-insensitive (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The client's address; None when the request came through no socket.
pub(crate) fn request_ip(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Peer>().map(|peer| caller_ip(app, headers, *peer))
}

/// The client's address for a request from this peer.
pub(crate) fn caller_ip(app: &App, headers: &HeaderMap, Peer(peer): Peer) -> IpAddr {
    client_ip(peer.ip(), headers, &app.trusted_proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&'static str, &str)], in_body: Option<&str>) -> Result<Option<String>, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let found = credential(&map, in_body).map(|found| found.map(str::to_owned));
        found.map_err(|problem| problem.render("").status().as_u16())
    }

    #[test]
    fn a_credential_is_found_wherever_it_stands() {
        for headers in
            [&[("authorization", "Bearer abc")][..], &[("authorization", "bearer  abc ")], &[("x-api-key", "abc")]]
        {
            assert_eq!(found(headers, None), Ok(Some("abc".into())), "{headers:?}");
        }
        assert_eq!(found(&[], Some("abc")), Ok(Some("abc".into())));
        assert_eq!(found(&[("authorization", "Basic abc")], None), Ok(None));
    }

    #[test]
    fn two_credentials_must_be_the_same() {
        assert_eq!(found(&[("authorization", "Bearer a"), ("x-api-key", "a")], Some("a")), Ok(Some("a".into())));
        assert_eq!(found(&[("authorization", "Bearer a"), ("x-api-key", "b")], None), Err(400));
        assert_eq!(found(&[("x-api-key", "a"), ("x-api-key", "b")], None), Err(400));
        assert_eq!(found(&[("x-api-key", "a")], Some("b")), Err(400));
    }
}

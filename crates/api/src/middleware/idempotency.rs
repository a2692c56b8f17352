//! `Idempotency-Key` for every write under `/api/v1`: the first request does the work, and a repeat gets its answer.
//!
//! An answer may contain a secret that is shown only once (a new key). So it is stored sealed with a key
//! that is derived from the caller's credential, of which the database has only a hash: someone who reads
//! the database reads no secret.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, TRANSFER_ENCODING},
};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use tollgate_domain::{Idempotency, StoredResponse, text::IDEMPOTENCY_KEY};
use tollgate_service::{Caller, access::idempotency::fingerprint};

use crate::{
    app::App,
    body::{ce_headers, json, problem::Problem},
    middleware::{auth, envelope::RequestId},
};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Headers that belong to a message or a connection and not to the answer.
const NOT_KEPT: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING];
/// A batch of 1,000 checks answers with about half of this.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Marks an answer to many checks of which none was admitted, in its extensions.
#[derive(Clone, Copy)]
pub(crate) struct NothingConsumed;

/// Passes on requests without a key and requests that write nothing.
pub(crate) async fn idempotent(State(app): State<App>, request: Request, next: Next) -> Response {
    let writes = [Method::POST, Method::PUT, Method::DELETE].contains(request.method());
    let caller = request.extensions().get::<Caller>().filter(|caller| matches!(caller, Caller::Token(_))).cloned();
    let keys: Vec<_> = request.headers().get_all(HEADER).into_iter().cloned().collect();
    match (writes, caller, keys.as_slice()) {
        (true, Some(caller), [key]) => {
            attempt(app, caller, key, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
        (true, Some(_), [_, _, ..]) => Problem::bad_request("a request has one Idempotency-Key").into_response(),
        _ => next.run(request).await,
    }
}

async fn attempt(
    app: App,
    caller: Caller,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = key.to_str().ok().filter(|key| IDEMPOTENCY_KEY.fit(key));
    let key = key.ok_or_else(|| Problem::bad_request(format!("Idempotency-Key must be ASCII, {IDEMPOTENCY_KEY}")))?;
    let seal = Seal::new(auth::credential(request.headers(), None)?.unwrap_or_default(), key);
    let (parts, body) = request.into_parts();
    let body = json::read(body).await?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let fingerprint = fingerprint(parts.method.as_str(), path, &what_is_asked(&parts.headers), &body);
    match app.service.idempotency().begin(&caller, key, &fingerprint).await? {
        Idempotency::Started => {
            let key = key.to_owned();
            let request = Request::from_parts(parts, Body::from(body));
            // A client that hangs up must not leave the attempt unfinished.
            let done = tokio::spawn(async move { carry_out(&app, &caller, &key, &seal, request, next).await });
            done.await.map_err(|error| Problem::internal(format!("an attempt ended early: {error}")))
        }
        Idempotency::Replay(stored) => replay(stored, &seal),
        Idempotency::InProgress => {
            let detail = "the first request with this Idempotency-Key is still running";
            Err(Problem::new(StatusCode::CONFLICT, "CONFLICT", detail).retry_after(1))
        }
        Idempotency::Mismatch => {
            let detail = "this Idempotency-Key was used with another request";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST", detail))
        }
    }
}

/// The headers without which a body does not say what is asked for: the version that it changes, and of a CloudEvent the
/// attributes.
fn what_is_asked(headers: &HeaderMap) -> Vec<u8> {
    let if_match: Vec<_> = headers.get_all(IF_MATCH).into_iter().map(HeaderValue::as_bytes).collect();
    let mut asked = if_match.join(&b", "[..]);
    let mut lines = ce_headers::attribute_lines(headers);
    lines.sort_unstable();
    asked.extend(lines.concat());
    asked
}

async fn carry_out(app: &App, caller: &Caller, key: &str, seal: &Seal, request: Request, next: Next) -> Response {
    let instance = request.extensions().get::<RequestId>().cloned();
    let instance = instance.as_ref().and_then(|RequestId(id)| id.to_str().ok()).unwrap_or_default().to_owned();
    let response =
        crate::middleware::envelope::caught(app, next.run(request)).await.unwrap_or_else(IntoResponse::into_response);
    let (response, kept) = copied(response, &instance, seal).await;
    let written = match kept {
        Some(stored) => app.service.idempotency().finish(caller, key, &stored).await,
        None => app.service.idempotency().forget(caller, key).await,
    };
    if let Err(error) = written {
        // The work is done and answered. For two minutes a repeat is answered that the first request still runs.
        tracing::warn!(%error, "cannot store the outcome of an idempotent request; repeats are refused");
    }
    response
}

/// The response, and the answer to store. Nothing is stored when nothing was done and the next attempt may end
/// differently, so that a repeat does the work: after a failure of ours, after a check that consumed nothing, and
/// for a caller without permission.
async fn copied(response: Response, instance: &str, seal: &Seal) -> (Response, Option<StoredResponse>) {
    let status = response.status();
    let is_refusal = [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&status)
        || response.extensions().get::<NothingConsumed>().is_some();
    if status.is_server_error() || is_refusal {
        return (response, None);
    }
    if let Some(problem) = response.extensions().get::<Problem>() {
        let (parts, body) = problem.render(instance).into_parts();
        let body = to_bytes(body, MAX_ANSWER_BYTES).await.unwrap_or_default();
        return (response, stored(&parts, &body, seal));
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, MAX_ANSWER_BYTES).await {
        Ok(body) => {
            let kept = stored(&parts, &body, seal);
            (Response::from_parts(parts, Body::from(body)), kept)
        }
        Err(error) => (Problem::internal(format!("an answer could not be read: {error}")).into_response(), None),
    }
}

fn stored(parts: &axum::http::response::Parts, body: &Bytes, seal: &Seal) -> Option<StoredResponse> {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kept = parts.headers.iter().filter(|(name, _)| !NOT_KEPT.contains(name));
    Some(StoredResponse {
        status: i32::from(parts.status.as_u16()),
        content_type: content_type.map(str::to_owned),
        headers: kept.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect(),
        body: seal.close(body)?,
    })
}

fn replay(stored: StoredResponse, seal: &Seal) -> Result<Response, Problem> {
    // It was sealed for the secret of the first request. The token has a new secret since, and
    // the work must not be done twice.
    let body = seal.open(stored.body).ok_or_else(|| {
        let detail =
            "this Idempotency-Key was used with another secret of your token, and its answer is kept for that one";
        Problem::new(StatusCode::CONFLICT, "CONFLICT", detail)
    })?;
    let status = u16::try_from(stored.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = (status.unwrap_or(StatusCode::OK), body).into_response();
    let content_type = stored.content_type.map(|value| (CONTENT_TYPE.to_string(), value));
    response.headers_mut().remove(CONTENT_TYPE);
    for (name, value) in content_type.into_iter().chain(stored.headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// ChaCha20-Poly1305 (RFC 8439) under HMAC-SHA-256(credential, idempotency key).
struct Seal(LessSafeKey);

impl Seal {
    fn new(credential: &str, key: &str) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, credential.as_bytes()), key.as_bytes());
        #[expect(clippy::expect_used, reason = "both are 32 bytes, whatever the input")]
        let key = UnboundKey::new(&CHACHA20_POLY1305, tag.as_ref()).expect("an HMAC-SHA-256 tag is a ChaCha20 key");
        Self(LessSafeKey::new(key))
    }

    /// A random nonce followed by the sealed text. None when the operating system has no random bytes.
    fn close(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut text = plain.to_vec();
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text).ok()?;
        Some([nonce.as_slice(), &text].concat())
    }

    fn open(&self, sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut text).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_answer_opens_for_the_same_caller_and_key_only() {
        let seal = Seal::new("token", "key-1");
        let sealed = seal.close(b"a new secret").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(Seal::new("token", "key-1").open(sealed.clone()).unwrap(), b"a new secret");
        assert!(Seal::new("token", "key-2").open(sealed.clone()).is_none());
        assert!(Seal::new("another", "key-1").open(sealed).is_none());
        assert!(seal.open(vec![1, 2, 3]).is_none());
    }
}

//! The measure of `make bench`: an axum handler that parses the same JSON and answers the same bytes, and does nothing else.
//!
//! `bare PORT BODY HEADERS [REDIS]`: answers the bytes of the file `BODY`, with the header lines of the file `HEADERS`.
//! With a `redis://…` it counts each request there first, in one call of its own.

use std::{error::Error, net::Ipv4Addr, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION},
    routing::post,
    serve::ListenerExt,
};
use serde::Deserialize;
use tokio::net::TcpListener;
use tollgate_tests::baseline::Baseline;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `validate` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed, as the service parses it, and not looked at")]
struct Request {
    api_key: Option<String>,
    requests: Option<u32>,
    endpoint: Option<String>,
    method: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    country: Option<String>,
}

struct Response {
    headers: HeaderMap,
    body: Bytes,
}

async fn validate(State(response): State<Arc<Response>>, Json(_request): Json<Request>) -> (HeaderMap, Bytes) {
    (response.headers.clone(), response.body.clone())
}

async fn counted(
    State((response, baseline)): State<(Arc<Response>, Baseline)>,
    headers: HeaderMap,
    Json(_request): Json<Request>,
) -> (HeaderMap, Bytes) {
    let credential = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).expect("a key");
    let (allowed, _) = baseline.check(credential.trim_start_matches("Bearer ")).await.expect("Redis answers");
    assert!(allowed, "the limit is out of reach");
    (response.headers.clone(), response.body.clone())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [port, body, headers, redis @ ..] = arguments.as_slice() else { Err("bare PORT BODY HEADERS [REDIS]")? };
    let mut response = Response { headers: HeaderMap::new(), body: Bytes::from(std::fs::read(body)?) };
    for (name, value) in std::fs::read_to_string(headers)?.lines().filter_map(|line| line.split_once(": ")) {
        response.headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let response = Arc::new(response);
    let handler = match redis {
        [] => post(validate).with_state(response),
        [url, ..] => post(counted).with_state((response, Baseline::connect(url).await?)),
    };
    let router = Router::new().route("/api/public/v1/rate-limit/validate", handler);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?)).await?;
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    axum::serve(listener, router).await?;
    Ok(())
}

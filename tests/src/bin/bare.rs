//! The measure of `make bench`: an axum handler that parses the same JSON and answers the same bytes, and does nothing else.
//!
//! `bare PORT BODY HEADERS`: answers the bytes of the file `BODY`, with the header lines of the file `HEADERS`.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::post,
    serve::ListenerExt,
};
use serde::Deserialize;
use tokio::net::TcpListener;

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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [port, body, headers] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "bare PORT BODY HEADERS")?;
    let mut response = Response { headers: HeaderMap::new(), body: Bytes::from(std::fs::read(body)?) };
    for (name, value) in std::fs::read_to_string(headers)?.lines().filter_map(|line| line.split_once(": ")) {
        response.headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let router =
        Router::new().route("/api/public/v1/rate-limit/validate", post(validate)).with_state(Arc::new(response));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?)).await?;
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    axum::serve(listener, router).await?;
    Ok(())
}

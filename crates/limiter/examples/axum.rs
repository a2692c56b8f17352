//! An axum server: by API key, else by address behind trusted proxies. Run: `cargo run --example axum --features tower`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::HeaderName;
use axum::http::request::Parts;
use axum::routing::get;
use tollgate_limiter::tower::{Address, Extract, Header, RateLimitLayer};
use tollgate_limiter::{HashKey, Limit, Limiter, Options, Quota, Window};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let limiter = Limiter::connect(&url, Options::default()).await?;
    let peer = |head: &Parts| head.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.ip());
    let who = Header::new(HeaderName::from_static("x-api-key")).or(Address::new(peer).behind(["10.0.0.0/8".parse()?]));
    let limits = [
        Limit::new("burst", Quota::token_bucket(10, Duration::from_secs(1), 20)?),
        Limit::new("per-hour", Quota::sliding_window(1_000, Window::Every(Duration::from_secs(3600)))?),
    ];
    let layer = RateLimitLayer::new(limiter, HashKey::new(*b"0123456789abcdef"), who, limits)
        .with_cost(|head| if head.uri.path().starts_with("/reports") { 5 } else { 1 });

    let app = Router::new().route("/", get(async || "hello\n")).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl -i http://{}/", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

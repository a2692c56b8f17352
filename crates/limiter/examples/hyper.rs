//! A bare hyper server behind the layer. Run: `cargo run --example hyper --features tower`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tollgate_limiter::tower::{Address, RateLimitLayer};
use tollgate_limiter::{HashKey, Limit, Limiter, Options, Quota, Window};
use tower::{Layer, service_fn};

/// What the extractor finds in a request's extensions.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::memory(&Options::default());
    let limits = [Limit::new("per-minute", Quota::sliding_window(60, Window::Every(Duration::from_secs(60)))?)];
    let who = Address::new(|head: &Parts| head.extensions.get::<Peer>().map(|Peer(address)| *address));
    let layer = RateLimitLayer::new(limiter, HashKey::new(*b"0123456789abcdef"), who, limits);
    let hello = layer.layer(service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello\n")))
    }));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    println!("curl -i http://{}/", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let mut hello = hello.clone();
        let with_peer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer.ip()));
            tower::Service::call(&mut hello, request)
        });
        tokio::spawn(async move {
            let mut server = hyper::server::conn::http1::Builder::new();
            let server = server.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            if let Err(error) = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(with_peer)).await
            {
                println!("{peer}: {error}");
            }
        });
    }
}

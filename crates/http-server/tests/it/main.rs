//! A server on a free port, and clients that say exactly what a story wants.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod deadlines;
mod requests;
mod room;
mod stop;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tollgate_http_server::{Limits, Plain, Server};

/// For ever, but for a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const SLOW_REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

fn limits() -> Limits {
    Limits {
        max_connections: 100,
        max_per_address: 100,
        max_body_bytes: 1_000,
        header_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(1_200),
        answer_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(5),
    }
}

async fn start(limits: Limits, router: Router) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(Server::new(Plain(router), limits).serve(listener, async { drop(stopped.await) }));
    Running { address, stop, serving }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// `/slow` says when it has begun, and waits to be told to go on.
fn slow() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        get(move || async move {
            begun.notify_one();
            go_on.notified().await;
            "hello"
        })
    };
    (hello().route("/slow", handler), begun, go_on)
}

async fn send(socket: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    socket.write_all(bytes.as_ref()).await.unwrap();
}

/// Reads until what was said ends in `end`, or the stream does.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1_024];
    while !text.ends_with(end.as_bytes()) {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => text.extend_from_slice(&buffer[..n]),
        }
    }
    String::from_utf8(text).unwrap()
}

async fn response(socket: &mut TcpStream) -> String {
    read_until(socket, "hello").await
}

/// A request that is answered.
async fn is_answered(socket: &mut TcpStream) {
    send(socket, REQUEST).await;
    assert!(response(socket).await.ends_with("hello"));
}

/// How long the server keeps the socket open.
async fn closed_after(socket: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut buffer = [0; 1_024];
    while !matches!(socket.read(&mut buffer).await, Ok(0) | Err(_)) {}
    start.elapsed()
}

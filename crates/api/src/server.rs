//! The accept loop: HTTP/1.1 on a bound listener until told to stop, then what is in flight is finished.
//!
//! `axum::serve` keeps a socket that says nothing for ever. Here every connection has a phase in one atomic word, and one
//! sweeper per server closes those whose phase lasts too long; the hot path reads no clock and arms no timer for it.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    header::{CONNECTION, HeaderValue, TRANSFER_ENCODING},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use tollgate_domain::outage::is_out_of_files;

use crate::{
    connection::{Connection, ResponseBody},
    connections::Connections,
    head::{self, MAX_HEAD_BYTES},
    routes::Routes,
    socket::Socket,
};

/// Pause after `accept` failed for want of file descriptors: long enough not to spin, short enough to be unnoticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Of so many attempts in a row that fail for want of a file descriptor, one closes an idle connection: one in a second.
const DISPLACE_EVERY: u32 = 50;
/// How often a connection that waits for room sees whether another has become idle.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Bounds of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections served at once. For a further one the connection that has been idle longest makes way; while all are
    /// busy, it waits in the kernel's queue.
    pub(crate) max_connections: usize,
    /// Those of one address; a further one is closed at once.
    pub(crate) max_per_address: usize,
    /// From the first moment a request may begin, or its first byte, to the end of its headers.
    pub(crate) header_timeout: Duration,
    /// Between two requests of one connection.
    pub(crate) idle_timeout: Duration,
    /// From the end of the headers until the answer is handed to the kernel: a client that does not read is cut off.
    pub(crate) answer_timeout: Duration,
    /// How long requests in flight may take once the server stops.
    pub(crate) stop_timeout: Duration,
}

/// Where a request came from: the other end of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves `routes` on `listener` until `shutdown`, then closes the listener and idle connections, and waits for requests in
/// flight, at most [`Limits::stop_timeout`].
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: Limits,
    connections: Connections,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Arc::new(connections);
    let sweeper = tokio::spawn(Arc::clone(&connections).sweep());
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let mut acceptor =
        Acceptor { listener, connections: Arc::clone(&connections), permits: Arc::clone(&permits), said: None };
    tokio::select! {
        () = acceptor.run(Arc::new(routes)) => {}
        () = shutdown => {}
    }
    drop(acceptor);
    connections.drain();
    let most = u32::try_from(limits.max_connections).unwrap_or(u32::MAX);
    if timeout(limits.stop_timeout, permits.acquire_many(most)).await.is_err() {
        tracing::warn!(open = connections.count(), "requests were still in flight when the time to stop had passed");
    }
    connections.close_all();
    sweeper.abort();
}

struct Acceptor {
    listener: TcpListener,
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    /// When the log last said that nothing can be accepted.
    said: Option<Instant>,
}

impl Acceptor {
    /// Ends only when the permits are closed, which nothing does.
    async fn run(&mut self, routes: Arc<Routes>) {
        loop {
            let (stream, peer) = self.next_connection().await;
            if !self.connections.admits(peer.ip()) {
                continue;
            }
            let Some(permit) = self.permit().await else { return };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            self.connections.spawn(peer.ip(), |connection| {
                serve_connection(stream, Peer(peer), Arc::clone(&routes), connection, permit)
            });
        }
    }

    /// Room for one more.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned();
            if self.connections.displace() {
                return permit.await.ok();
            }
            if let Ok(permit) = timeout(ROOM_PAUSE, permit).await {
                return permit.ok();
            }
        }
    }

    /// Waits out a lack of file descriptors, for which an idle connection makes way; a connection that broke in the queue is
    /// passed over.
    async fn next_connection(&mut self) -> (TcpStream, SocketAddr) {
        let mut failures = 0_u32;
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.say(&error);
                    // One descriptor should do. If it does not, others take them, and closing all that is idle helps nobody.
                    if is_out_of_files(&error) && failures.is_multiple_of(DISPLACE_EVERY) {
                        self.connections.displace();
                    }
                    failures = failures.wrapping_add(1);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn say(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.said.is_some_and(|said| now.duration_since(said) < BETWEEN_LINES) {
            return;
        }
        self.said = Some(now);
        if is_out_of_files(error) {
            tracing::error!(%error, "out of file descriptors: idle connections make way for new ones");
        } else {
            tracing::error!(%error, "cannot accept connections; trying again");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn serve_connection(
    stream: TcpStream,
    peer: Peer,
    routes: Arc<Routes>,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
) {
    let io = TokioIo::new(Socket::new(stream, Arc::clone(&connection)));
    let answering = Arc::clone(&routes);
    let answer = service_fn(move |request| answer(request, peer, Arc::clone(&answering), Arc::clone(&connection)));
    let mut http = http1::Builder::new()
        // Nearly every answer is small: to copy it behind its head costs less than a second buffer costs the kernel.
        .writev(false)
        // The sweeper's phases replace hyper's timer, which is allocated anew for every request.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES * 2)
        .serve_connection(io, answer);
    let served = (&mut http).await;
    let http1::Parts { io, read_buf: unread, .. } = http.into_parts();
    let socket = io.into_inner();
    let refusal = match served {
        Err(error) if error.is_parse() && socket.is_between_requests() => {
            let problem = head::unreadable(&error, &unread, socket.gave_two_lengths());
            Some(head::written(routes.refuse(None, &problem)).await)
        }
        Err(error) => {
            tracing::debug!(%error, "connection");
            None
        }
        Ok(()) => None,
    };
    socket.close(refusal).await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: Peer,
    routes: Arc<Routes>,
    connection: Arc<Connection>,
) -> Result<hyper::Response<ResponseBody<Either<Full<Bytes>, Body>>>, std::convert::Infallible> {
    if !connection.begin_request() {
        // The sweeper chose this moment to close the connection: nothing is done that the client would not hear of.
        std::future::pending::<()>().await;
    }
    let checked = head::check(&request);
    // Nothing that follows is read as another request: where a chunked body ends is the client's word alone.
    let is_last = checked.is_err() || request.headers().contains_key(TRANSFER_ENCODING);
    let mut response = match checked {
        Ok(()) => routes.answer(request, peer).await,
        Err(problem) => routes.refuse(Some((request.method(), request.headers())), &problem),
    };
    if is_last || connection.is_last_request() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| ResponseBody::new(body, connection)))
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use futures_util::StreamExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::{Notify, oneshot},
        task::JoinHandle,
    };

    use super::*;
    use crate::metrics::HttpMetrics;

    /// For ever, but for a machine that is busy with other things.
    const LONG: Duration = Duration::from_secs(5);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<()>,
    }

    fn limits() -> Limits {
        Limits {
            max_connections: 100,
            max_per_address: 100,
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
        let metrics = HttpMetrics::register(&prometheus::Registry::new()).unwrap().connections("public");
        let connections = Connections::new(limits, Vec::new(), metrics);
        let serving = tokio::spawn(serve(listener, router.into(), limits, connections, async { drop(stopped.await) }));
        Running { address, stop, serving }
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

    /// Reads until the body `hello` or the end of the stream.
    async fn response(socket: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 1_024];
        while !text.ends_with(b"hello") {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => text.extend_from_slice(&buffer[..n]),
            }
        }
        String::from_utf8(text).unwrap()
    }

    /// How long the server keeps the socket open.
    async fn closed_after(socket: &mut TcpStream) -> Duration {
        let start = Instant::now();
        let mut buffer = [0; 1_024];
        while !matches!(socket.read(&mut buffer).await, Ok(0) | Err(_)) {}
        start.elapsed()
    }

    #[tokio::test]
    async fn a_socket_that_says_nothing_is_closed_within_the_header_timeout() {
        let server = start(limits(), hello()).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let after = closed_after(&mut socket).await;
        assert!(after > Duration::from_millis(300) && after < LONG, "{after:?}");
    }

    #[tokio::test]
    async fn headers_that_come_byte_by_byte_do_not_move_the_deadline() {
        let server = start(limits(), hello()).await;
        let (mut reader, mut writer) = TcpStream::connect(server.address).await.unwrap().into_split();
        let dripping = tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a')) {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(25)).await;
            }
        });
        let start = Instant::now();
        let mut buffer = [0; 64];
        while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
        assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn half_a_head_behind_a_request_has_no_longer_than_another() {
        let server = start(Limits { idle_timeout: Duration::from_secs(60), ..limits() }, hello()).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(&[REQUEST, b"GET / HT"].concat()).await.unwrap();
        assert!(response(&mut socket).await.ends_with("hello"));
        assert!(closed_after(&mut socket).await < LONG);
    }

    #[tokio::test]
    async fn a_connection_rests_between_requests_for_the_idle_timeout() {
        let server = start(limits(), hello()).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        for _ in 0..2 {
            socket.write_all(REQUEST).await.unwrap();
            assert!(response(&mut socket).await.ends_with("hello"));
            sleep(Duration::from_millis(600)).await;
        }
        assert!(closed_after(&mut socket).await < LONG);
    }

    #[tokio::test]
    async fn connections_over_the_cap_wait_while_all_are_busy() {
        let (slow, begun, go_on) = slow();
        let server = start(Limits { max_connections: 1, ..limits() }, slow).await;
        let mut first = TcpStream::connect(server.address).await.unwrap();
        first.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        begun.notified().await;
        let mut second = TcpStream::connect(server.address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        assert!(timeout(Duration::from_millis(200), response(&mut second)).await.is_err(), "served beyond the cap");
        go_on.notify_one();
        assert!(response(&mut first).await.ends_with("hello"));
        assert!(response(&mut second).await.ends_with("hello"), "what is idle makes way");
        closed_after(&mut first).await;
    }

    #[tokio::test]
    async fn a_stop_finishes_what_is_in_flight_and_closes_what_is_idle() {
        let (slow, begun, go_on) = slow();
        let server = start(Limits { idle_timeout: Duration::from_secs(60), ..limits() }, slow).await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(REQUEST).await.unwrap();
        assert!(response(&mut idle).await.ends_with("hello"));
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        begun.notified().await;

        server.stop.send(()).unwrap();
        closed_after(&mut idle).await;
        assert!(TcpStream::connect(server.address).await.is_err(), "still accepting");
        assert!(!server.serving.is_finished());
        go_on.notify_one();
        let answer = response(&mut busy).await;
        assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
        timeout(Duration::from_secs(2), server.serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_hold_up_a_stop() {
        let never = get(|| async { std::future::pending::<&str>().await });
        let limits = Limits { stop_timeout: Duration::from_millis(200), ..limits() };
        let server = start(limits, hello().route("/never", never)).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(50)).await;
        server.stop.send(()).unwrap();
        timeout(Duration::from_secs(2), server.serving).await.unwrap().unwrap();
        closed_after(&mut socket).await;
    }

    #[tokio::test]
    async fn hostile_requests_are_refused_by_the_parser() {
        let server = start(limits(), hello()).await;
        for (request, status) in [
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".to_owned(), "400"),
            ("GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n".to_owned(), "400"),
            ("GET\0 / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
            (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(40_000)), "431"),
            (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(101)), "431"),
        ] {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let answer = response(&mut socket).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{}: {answer}", &request[..30]);
        }
    }

    #[tokio::test]
    async fn an_answer_in_pieces_leaves_whole() {
        let pieces = get(|| async {
            let pieces = futures_util::stream::iter(["one ", "two ", "hello"]).then(|piece| async move {
                sleep(Duration::from_millis(20)).await;
                Ok::<_, io::Error>(piece)
            });
            Body::from_stream(pieces)
        });
        let server = start(limits(), Router::new().route("/", pieces)).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(response(&mut socket).await.ends_with("one two hello"));
    }

    #[tokio::test]
    async fn nothing_is_read_after_a_request_with_two_lengths() {
        let server = start(limits(), hello()).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let both = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        socket.write_all(both.as_bytes()).await.unwrap();
        socket.write_all(REQUEST).await.unwrap();
        let answers = response(&mut socket).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
    }

    #[tokio::test]
    async fn ten_thousand_keep_alive_requests_on_a_few_connections_are_all_answered() {
        let server = start(limits(), hello()).await;
        let clients = (0..4).map(|_| async {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            for _ in 0..2_500 {
                socket.write_all(REQUEST).await.unwrap();
                assert!(response(&mut socket).await.ends_with("hello"));
            }
        });
        futures_util::future::join_all(clients).await;
    }
}

//! One connection: its requests one after another, each checked, answered and followed to its last byte.

use std::{convert::Infallible, future::pending, sync::Arc};

use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONNECTION, HeaderValue, TRANSFER_ENCODING},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};

use crate::{
    connection::{Connection, ResponseBody},
    head,
    limits::MAX_HEAD_BYTES,
    service::{HttpService, Peer},
    socket::Socket,
};

/// Serves a connection until it ends, which also frees its permit.
pub(crate) async fn serve_connection<S: HttpService>(
    stream: TcpStream,
    peer: Peer,
    service: Arc<S>,
    max_body_bytes: u64,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
) {
    let io = TokioIo::new(Socket::new(stream, Arc::clone(&connection)));
    let answering = Arc::clone(&service);
    let answer = service_fn(move |request| {
        answer(request, peer, Arc::clone(&answering), max_body_bytes, Arc::clone(&connection))
    });
    let mut http = http1::Builder::new()
        // Nearly every answer is small: copying it behind its head costs less than a second buffer costs the kernel.
        .writev(false)
        // The sweeper replaces hyper's timer, which is allocated again for every request.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES * 2)
        .serve_connection(io, answer);
    let served = (&mut http).await;
    let http1::Parts { io, read_buf: unread, .. } = http.into_parts();
    let socket = io.into_inner();
    let refusal = match served {
        Err(error) if error.is_parse() && socket.is_between_requests() => {
            let refusal = head::unreadable(&error, &unread, socket.gave_two_lengths());
            Some(head::written(service.refuse(None, &refusal)).await)
        }
        Err(error) => {
            tracing::debug!(%error, "a connection failed");
            None
        }
        Ok(()) => None,
    };
    socket.close(refusal).await;
}

async fn answer<S: HttpService>(
    request: Request<Incoming>,
    peer: Peer,
    service: Arc<S>,
    max_body_bytes: u64,
    connection: Arc<Connection>,
) -> Result<Response<ResponseBody<S::Body>>, Infallible> {
    if !connection.begin_request() {
        // The sweeper chose this moment to close the connection. The request must not run, because its client
        // would never learn the outcome.
        pending::<()>().await;
    }
    let checked = head::check(&request, max_body_bytes);
    // Nothing after a chunked body is read as another request, because only the client says where that body ends.
    let is_last = checked.is_err() || request.headers().contains_key(TRANSFER_ENCODING);
    let mut response = match checked {
        Ok(()) => service.answer(request, peer).await,
        Err(refusal) => service.refuse(Some((request.method(), request.headers())), &refusal),
    };
    if is_last || connection.is_last_request() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| ResponseBody::new(body, connection)))
}

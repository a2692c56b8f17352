//! The trait of a service, and the adapter that serves any tower service.

use std::{convert::Infallible, future::poll_fn, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use tower_service::Service;

use crate::refusal::Refusal;

/// The error of a body, in the form that hyper takes.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The address of the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Answers requests. The future is the service's own type, so the server boxes nothing per request.
pub trait HttpService: Send + Sync + 'static {
    /// The body of every response.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Answers a request whose head has passed the server's checks.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Answers a request that no handler may see; the head is `None` when it could not be
    /// parsed. The connection ends with it.
    fn refuse(&self, head: Option<(&Method, &HeaderMap)>, refusal: &Refusal) -> Response<Self::Body>;
}

/// A tower service that never fails, such as an axum router. Requests carry their [`Peer`] as an extension; a refusal
/// is answered with its status and a line of text.
#[derive(Clone, Debug)]
pub struct Plain<S>(pub S);

impl<S, B> HttpService for Plain<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Body = Either<Full<Bytes>, B>;

    async fn answer(&self, mut request: Request<Incoming>, peer: Peer) -> Response<Self::Body> {
        request.extensions_mut().insert(peer);
        let mut service = self.0.clone();
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(response) = service.call(request).await;
        response.map(Either::Right)
    }

    fn refuse(&self, _head: Option<(&Method, &HeaderMap)>, refusal: &Refusal) -> Response<Self::Body> {
        let mut response = Response::new(Either::Left(Full::from(refusal.to_string())));
        *response.status_mut() = refusal.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

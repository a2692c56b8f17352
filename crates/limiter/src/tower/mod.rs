//! A [`tower_layer::Layer`] that checks every request before the service sees it.
//!
//! A refused request is answered 429 with a problem body (RFC 9457), one that cannot be decided 503. All answers carry
//! the fields of draft-ietf-httpapi-ratelimit-headers-10 and the older `X-RateLimit-*`.
mod extract;
mod headers;
mod problem;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use ::http::request::Parts;
use ::http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use extract::{Address, Extract, Header, Or};
pub use headers::Fields;

use crate::check::Check;
use crate::fields::FieldText;
use crate::limit::Limit;
use crate::limiter::Limiter;
use crate::subject::{HashKey, Subject};
use crate::time::Timestamp;

/// Checks requests against limits. Requests without a subject share one, so that leaving out
/// a header never lifts a limit.
#[derive(Debug, Clone)]
pub struct RateLimitLayer<E>(Arc<Rules<E>>);

#[derive(Debug)]
struct Rules<E> {
    limiter: Limiter,
    key: HashKey,
    extract: E,
    limits: Box<[Limit]>,
    text: FieldText,
    fields: Fields,
    clock: fn() -> Timestamp,
    cost: fn(&Parts) -> u32,
}

impl<E: Extract> RateLimitLayer<E> {
    /// Applies `limits` to every subject that `extract` finds; a request costs 1.
    pub fn new(limiter: Limiter, key: HashKey, extract: E, limits: impl Into<Box<[Limit]>>) -> Self {
        let (limits, fields) = (limits.into(), Fields::default());
        let text = FieldText::new(&limits);
        Self(Arc::new(Rules { limiter, key, extract, limits, text, fields, clock: system_clock, cost: |_| 1 }))
    }

    /// Sets how the cost of a request follows from its head.
    #[must_use]
    pub fn with_cost(self, cost: fn(&Parts) -> u32) -> Self {
        self.change(|rules| rules.cost = cost)
    }

    /// Sets which response fields are sent.
    #[must_use]
    pub fn with_fields(self, fields: Fields) -> Self {
        self.change(|rules| rules.fields = fields)
    }

    /// Replaces the system's clock, for tests.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> Timestamp) -> Self {
        self.change(|rules| rules.clock = clock)
    }

    /// Configures a layer before it is handed out; copies made before stay unchanged.
    fn change(mut self, change: impl FnOnce(&mut Rules<E>)) -> Self {
        if let Some(rules) = Arc::get_mut(&mut self.0) {
            change(rules);
        }
        self
    }
}

impl<S, E> Layer<S> for RateLimitLayer<E> {
    type Service = RateLimit<S, E>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, rules: Arc::clone(&self.0) }
    }
}

/// The service that [`RateLimitLayer`] makes.
#[derive(Debug)]
pub struct RateLimit<S, E> {
    inner: S,
    rules: Arc<Rules<E>>,
}

impl<S: Clone, E> Clone for RateLimit<S, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rules: Arc::clone(&self.rules) }
    }
}

impl<S, E, Asked, Answered> Service<Request<Asked>> for RateLimit<S, E>
where
    S: Service<Request<Asked>, Response = Response<Answered>> + Clone + Send + 'static,
    S::Future: Send,
    E: Extract + Send + Sync + 'static,
    Asked: Send + 'static,
    Answered: From<String> + Send,
{
    type Response = Response<Answered>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        // Call the service that was polled ready, and keep its clone for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let rules = Arc::clone(&self.rules);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let subject = rules.extract.extract(&rules.key, &head);
            let subject = subject.unwrap_or_else(|| Subject::new(&rules.key, &[b"nobody"]));
            let check = Check::new(subject, &rules.limits).with_cost((rules.cost)(&head));
            let decision = match rules.limiter.check(check, (rules.clock)()).await {
                Ok(decision) => decision,
                Err(error) => return Ok(problem::undecided(&error)),
            };
            let mut response = if decision.allowed {
                inner.call(Request::from_parts(head, body)).await?
            } else {
                problem::refused(&decision, &rules.limits)
            };
            headers::insert(response.headers_mut(), &decision, &rules.text, rules.fields);
            Ok(response)
        })
    }
}

/// The system's clock, for callers that have no clock of their own to pass as `now`.
pub fn system_clock() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the edge of the system: everything below is told the time")]
    let now = std::time::SystemTime::now();
    Timestamp::default().saturating_add(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

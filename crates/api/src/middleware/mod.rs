//! Middleware.
//!
//! [`envelope`] (request id, time limit, problem bodies, metric, log line) wraps everything; [`auth`] and
//! [`idempotency`] wrap the routes that need a credential; [`cors`] is for browsers. [`client_ip`] and [`request_id`]
//! find the client's address and the request's id.

pub(crate) mod auth;
pub(crate) mod client_ip;
pub(crate) mod cors;
pub(crate) mod envelope;
pub(crate) mod idempotency;
pub(crate) mod request_id;

//! What wraps routes.
//!
//! [`envelope`] (request id, time limit, problem bodies, metric, log line) is around all; [`auth`] and [`idempotency`] are around
//! what a credential opens; [`cors`] is for browsers. [`client_ip`] and [`request_id`] say where a request is from and what it is called.

pub(crate) mod auth;
pub(crate) mod client_ip;
pub(crate) mod cors;
pub(crate) mod envelope;
pub(crate) mod idempotency;
pub(crate) mod request_id;

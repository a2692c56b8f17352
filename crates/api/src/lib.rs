//! Tollgate's HTTP service.
//!
//! Reading order: [`routes`] (the whole table on one screen) → [`run`](mod@run) (a node's life; what comes in is
//! `tollgate_http_server`'s) → `edge` (what every request gets) → `auth`, `idempotency` (what `/api/v1` gets) → one file per
//! resource in `routes` → `decided`, `problem`, `views` (shapes) → `openapi`.

mod announce;
mod app;
mod auth;
mod client_ip;
mod command;
mod connections;
mod cors;
mod decided;
mod edge;
mod extract;
mod idempotency;
mod json;
mod metrics;
mod open_files;
mod openapi;
mod problem;
mod query;
mod rate_limit_headers;
mod request_id;
mod routes;
mod run;
mod views;
mod whole;
mod wrong_fields;

pub use announce::announce;
pub use command::{Command, carry_out};
pub use run::{Error, Listeners, run};

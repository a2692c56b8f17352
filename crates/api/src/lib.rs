//! Tollgate's HTTP service.
//!
//! Reading order: `routes` (the whole table on one screen) → `run` (a node's life; `tollgate_http_server` handles
//! connections) → `middleware` (wraps routes) → `body` (parses requests) → a file or folder per noun in `routes` →
//! `answers` (types of the contract) → `openapi`.

mod announce;
mod answers;
mod app;
mod body;
mod command;
mod connections;
mod metrics;
mod middleware;
mod open_files;
mod openapi;
mod routes;
mod run;

pub use announce::announce;
pub use command::{Command, carry_out};
pub use run::{Error, Listeners, run};

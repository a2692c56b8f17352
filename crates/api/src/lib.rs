//! Tollgate's HTTP service.
mod connection;
pub mod json;
pub mod problem;
pub mod server;

//! The real servers that tests of every crate start, each in a temporary folder and on a free port. It uses nothing of ours.
//!
//! Reading order: [`wait`] (for a condition, with a deadline) → `guard` (a child that ends with the value that stands for it,
//! and with the process that started it) → `account` (whose process a server is) → [`redis`], [`postgres`] (a server of a
//! test's own), [`database`] (one on the server of the whole run), [`pgbouncer`].

mod account;
pub mod database;
mod guard;
pub mod pgbouncer;
pub mod postgres;
pub mod redis;
mod stall;
pub mod wait;

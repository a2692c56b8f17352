//! The harness of Tollgate's stories: real servers, real processes, a hostile network, and one running service on a stack.
//!
//! Reading order: [`app`] (a service on every stack, and what stories do with it) → [`things`] → [`answer`] → [`database`] → [`process`]
//! (the real binaries) → [`proxy`] (the network between) → [`raw`] (bytes of a story's own on a socket);
//! [`postgres`], [`pgbouncer`], [`redis`] and [`wait`] are those of all crates' tests, in `tests/servers`;
//! [`traffic`] and [`load`] keep a service busy, [`openapi`] reads what it says of itself, [`machine`] and [`baseline`] are
//! for the benchmark.
//! Everything that is started ends with the value that stands for it, also when a story panics.

pub mod answer;
pub mod app;
pub mod baseline;
pub mod database;
pub mod load;
pub mod machine;
pub mod openapi;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod things;
pub mod traffic;

pub use tollgate_test_servers::{pgbouncer, postgres, redis, wait};

/// The admin token of every service that the harness starts.
pub const BOOTSTRAP_TOKEN: &str = "tgt_admin_stories_0123456789abcdefghij";

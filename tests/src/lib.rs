//! The harness of Tollgate's stories: real servers, real processes, a hostile network, and one running service on a stack.
//!
//! Reading order: [`app`] (a service on every stack, and what stories do with it) → [`answer`] → [`postgres`], [`redis`]
//! (real servers in temporary folders) → [`process`] (the real binaries) → [`proxy`] (the network between) → [`wait`]; [`load`] measures.
//! Everything that is started ends with the value that stands for it, also when a story panics.

pub mod answer;
pub mod load;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod wait;

/// The admin token of every service that the harness starts.
pub const BOOTSTRAP_TOKEN: &str = "tgt_admin_stories_0123456789abcdefghij";

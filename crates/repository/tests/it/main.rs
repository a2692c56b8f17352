//! The tables on both engines: every story runs on SQLite and on a PostgreSQL started for this test binary.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod bootstrap;
mod events;
mod faults;
mod harness;
mod idempotency;
mod isolation;
mod keys;
mod list;
/// As `wait`, a file of `tollgate-tests`, which depends on this crate.
#[path = "../../../../tests/src/pgbouncer.rs"]
#[expect(dead_code, unreachable_pub, clippy::expect_used, reason = "it is part of another crate's public harness")]
mod pgbouncer;
mod plans;
mod property;
mod revisions;
mod rollups;
mod schedules;
mod server;
mod tokens;
mod upgrade;
mod usage;
mod violations;
#[path = "../../../../tests/src/wait.rs"]
#[expect(dead_code, unreachable_pub, clippy::expect_used, reason = "it is part of another crate's public harness")]
mod wait;

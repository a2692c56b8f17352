//! The tables on both engines: every story runs on SQLite and on the PostgreSQL of the test run.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod bootstrap;
mod events;
mod faults;
mod harness;
mod idempotency;
mod isolation;
mod keys;
mod list;
mod plans;
mod property;
mod revisions;
mod rollups;
mod schedules;
mod tokens;
mod upgrade;
mod usage;
mod violations;

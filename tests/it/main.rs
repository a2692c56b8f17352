//! Tollgate's stories: one file per resource of the HTTP API, one test per promise, each on every stack there is; then the
//! faults, with real processes and real servers that stop.

mod algorithms;
mod api_keys;
mod architecture;
mod auth;
mod backlog;
mod come_back;
mod connections;
mod errors;
mod flood;
mod flushall;
mod full_disk;
mod health;
mod http;
mod idempotency;
mod input;
mod isolation;
mod jobs;
mod kill;
mod logs;
mod metrics;
mod nodes;
mod openapi;
mod outage;
mod plans;
mod pooler;
mod processes;
mod rate_limit;
mod restart;
mod schedules;
mod secrets_leak;
mod settings;
mod tokens;
mod usage;
mod validate;
mod violations;

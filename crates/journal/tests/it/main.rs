//! The promises of the front page, one module each, on real files and real processes.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]
mod child;
mod concurrent;
mod confirmed;
mod damage;
mod full;
mod kill;
mod property;
mod round_trip;
mod takeover;
mod util;

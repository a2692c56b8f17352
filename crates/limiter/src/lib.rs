//! A rate limiter that decides every limit of a request in one atomic step, in memory or on Redis.
//!
//! ```
//! use std::time::Duration;
//! use tollgate_limiter::{Check, HashKey, Limit, Limiter, Options, Quota, Subject, Timestamp, Window};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::connect("memory:", Options::default()).await?; // or redis://…
//! let limits = [
//!     Limit::new("burst", Quota::token_bucket(10, Duration::from_secs(1), 20)?),
//!     Limit::new("per-hour", Quota::sliding_window(1_000, Window::Every(Duration::from_secs(3600)))?),
//! ];
//! let alice = Subject::new(&HashKey::new(*b"0123456789abcdef"), &[b"user", b"alice"]);
//! let decision = limiter.check(Check::new(alice, &limits), Timestamp::from_seconds(1_767_225_600)).await?;
//! assert!(decision.allowed);
//! assert_eq!(decision.limits[1].remaining(), 999);
//! # Ok(()) }
//! ```
//!
//! Reading order: [`Quota`] (how much in how long) → [`Limit`] (a named quota) → [`Subject`] (who is counted) →
//! [`Check`] (the request) → [`Limiter::check`] → [`Decision`] (the answer). The feature `tower` adds a layer.
//!
//! # What is promised
//!
//! | algorithm | admitted, at most | costs | a small limit, such as 1 in 4 s, feels like |
//! |---|---|---|---|
//! | [sliding window](Quota::sliding_window) | the limit in every window aligned to the epoch; over any other stretch of that length less than twice it, and the limit if use is even | 40 bytes, the least time | the next after 4 to 8 s: the estimate has to reach zero. Of large limits it gives back evenly |
//! | [sliding log](Quota::sliding_log), up to 1,000 | the limit in any window, wherever it begins | 8 bytes per moment, and time with their number | the next after exactly 4 s |
//! | [fixed window](Quota::fixed_window) | the limit in every period; across the border of two, twice it | 40 bytes, the least time | the next after 0 to 4 s, when the period ends |
//! | [token bucket](Quota::token_bucket) | the burst and what flows in, over any stretch of time | 40 bytes, little more time | with a burst of 1 the next after exactly 4 s; with more, as many at once |
//! | [concurrency](Quota::concurrency) | the limit held at any moment | 32 bytes per reservation | the next when the one is released, or its time is up |
//!
//! - **All or nothing**: all limits of all subjects of a check consume, or none does. A refusal consumes
//!   nothing; cost 0 only reads.
//! - **[`Decision::retry_after`] is exact** to the microsecond: if nothing else is consumed meanwhile, the same check
//!   is refused a moment earlier and allowed at that moment.
//! - **[`LimitStatus::reset_after`] is when to come back**: while not even one unit is left, the moment at which one
//!   fits; otherwise the end of the window. It is never later than a refusal's `retry_after`. [`Limiter::peek`]
//!   returns both and consumes nothing.
//! - **A limit's size is not part of its counter's identity**: raising it helps at once and keeps the count. Its
//!   name, algorithm and window are.
//! - **A limit can apply only [beyond](Mode::Beyond) a quota**: until then it neither refuses nor consumes. Nodes take no
//!   slices of its subjects' budgets.
//! - **Time never goes back** for a counter. A clock that steps back by more than a window moves the counter with it
//!   and keeps its count. On Redis only the server's clock counts.
//! - **Identifiers** are never part of a key or a script: subjects are keyed hashes.
//!
//! # On Redis
//!
//! One packed value per subject holds the cells and logs of all its limits, so a check costs one read and one write,
//! whatever their number. Concurrent checks share calls, up to 128 in each. A node answers two kinds of check by
//! itself, both counted in [`Stats`]:
//!
//! - **Refusals it knows of**: it refuses what the store refused from the same numbers, so the answer is exact. It asks
//!   the store again after half a second, to notice a reset by another node.
//! - **Slices of hot subjects' budgets**, taken in advance when the limits can spare eight times as much, for at most
//!   100 ms and never beyond the window; the rest is given back. Logs give no slices, because they must know the moment
//!   of every unit. Nothing is admitted that was not counted first. [`Limit::max_overshoot`] says by how much a limit
//!   can be exceeded, 0 for every window; a node that is killed costs at most its slices until the window ends.
//!   [`Leases::Off`] turns slices off.
//!
//! While Redis is down, every limit says what happens: decide [locally](OnFailure::Local), [allow](OnFailure::Allow) or
//! [fail](OnFailure::Deny). A call takes at most [`Options::call_budget`]; then a breaker opens, and answers come at
//! once and are marked [`Decision::degraded`], until probes succeed.
//!
//! # Cost
//!
//! `cargo bench -p tollgate-limiter` measures it; on one machine of two cores (Redis 7.0, November 2026):
//!
//! | check | time or CPU | compared with |
//! |---|---|---|
//! | in memory, one limit, one subject | 0.06 µs | `governor`, keyed: 0.05 µs |
//! | in memory, eight limits of three algorithms, one subject | 0.11 µs | |
//! | in memory, a log of 1,000 units that is full, one subject | 0.23 µs | |
//! | in memory, one limit, a million subjects in random order | window 0.16 to 0.24 µs, bucket 0.24 to 0.36 | `governor`, keyed: 0.14 to 0.22 µs |
//! | in memory, two limits, the same million | 0.24 to 0.31 µs | |
//! | in memory, eight limits of three algorithms, the same million | 0.40 to 0.43 µs | |
//! | Redis, one limit, 100,000 subjects, 64 or 256 callers | 2.8 or 2.2 µs of the server, 2.4 or 1.7 here | a minimal script call for each: 5.5 or 4.9, and 3.2 or 3.0 |
//! | Redis, two limits | 4.1 or 3.1 µs of the server | |
//! | Redis, a token bucket, 64 callers | 6.1 µs of the server | |
//! | Redis, a log of 1, 100, 500 to 700 units | 8.7, 16 or 24 µs of the server at 64 callers, 8.1, 13 or 23 at 256 | |
//! | Redis, one hot subject, or one over its limit | none of the server, 0.7 µs here | |
//!
//! The times are the thread's own CPU time, on a machine with other load (three runs). With a million subjects in
//! random order, most of it is waiting for memory: a subject of one limit has 56 bytes in two places that are fetched
//! together, where `governor` keeps 16 bytes. Eight limits occupy six cache lines and are decided in one step, which
//! takes as long as two or three limits in `governor`.
//!
//! A subject takes 88 bytes in memory with one limit, 138 with two, 513 with eight; on Redis 198, 245 with two, 533
//! with eight. With a log of 1, 10, 100 or 1,000 moments it takes 284, 437, 1,370 or 8,840 bytes in memory, and 196,
//! 265, 1,032 or 8,160 on Redis. Of a million checks, the longest took 0.3 to 0.5 ms of CPU time while they added as
//! many subjects, and 0.1 to 0.3 ms while the new subjects evicted as many old ones (`--bench pauses`, five runs). A
//! snapshot blocks one of 256 shards at a time, for 0.07 ms.
//!
//! The memory store holds at most [`Options::max_subjects`] subjects. Expired ones make room first; then, of 32
//! candidates, the one that consumed longest ago. [`Stats::evicted`] counts those.
//!
//! # Units
//!
//! Times are whole microseconds ([`Timestamp`], [`Duration`](std::time::Duration)). Costs are `u32`; a limit's
//! [weight](Limit::with_weight) multiplies them. The caller passes the time: the crate reads no clock but Redis' own.
//!
//! # Errors
//!
//! A refusal is no error. [`Error`] means that nothing was decided: the store is down and a limit fails then,
//! or the check is invalid, which [`InvalidCheck`] explains. Impossible quotas cannot be built:
//! [`InvalidQuota`] names what is allowed.
#![deny(missing_docs)]
mod algorithm;
mod calendar;
mod check;
mod decide;
mod decision;
mod error;
mod explain;
pub mod fields;
mod limit;
mod limiter;
mod memory;
mod options;
mod period;
mod progress;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod reservation;
mod settle;
mod standing;
mod state;
#[cfg(feature = "redis")]
mod store_fault;
mod subject;
mod time;
#[cfg(feature = "tower")]
pub mod tower;
mod window;

pub use calendar::{Calendar, CalendarUnit};
pub use check::{Check, Floor, Part, Raise};
pub use decision::{Decision, LimitStatus, Retry, Source};
pub use error::{Error, InvalidCheck, InvalidQuota};
pub use limit::{Limit, MAX_WEIGHT, Mode, OnFailure};
pub use limiter::{Limiter, Undecided};
pub use memory::MemoryStore;
pub use options::{Leases, Options, Stats, TimeSource};
pub use period::Period;
pub use progress::Progress;
pub use quota::{
    Algorithm, MAX_CONCURRENCY, MAX_FIXED_LIMIT, MAX_LIFE, MAX_LOG_LIMIT, MAX_SLIDING_LIMIT, MAX_WINDOW, MIN_WINDOW,
    Quota,
};
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use reservation::ReservationId;
#[cfg(feature = "redis")]
pub use store_fault::StoreFault;
pub use subject::{HashKey, Subject};
pub use time::Timestamp;
pub use window::Window;

/// The IANA time zones of calendar windows.
pub use chrono_tz::Tz;

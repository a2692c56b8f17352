//! A rate limiter that decides every limit of a request in one atomic step, in memory or on Redis.
//!
//! Reading order: [`Quota`] (how much in how long) → [`Limit`] (a named quota) → [`Subject`] (who is counted) → [`Check`]
//! (what is asked) → [`Limiter::check`] → [`Decision`] (what is answered).
mod algorithm;
mod check;
mod decide;
mod decision;
mod error;
mod hold;
mod limit;
mod limiter;
mod memory;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod state;
mod subject;
mod time;
#[cfg(feature = "tower")]
pub mod tower;
mod window;

pub use check::{Check, Floor, Part, Raise};
pub use decision::{Decision, LimitStatus, Retry, Source};
pub use error::{Error, InvalidCheck};
pub use hold::HoldId;
pub use limit::{Limit, MAX_WEIGHT, Mode, OnFailure};
pub use limiter::{Leases, Limiter, Options, Stats, TimeSource};
pub use memory::MemoryStore;
pub use quota::{
    Algorithm, InvalidQuota, MAX_CONCURRENCY, MAX_FIXED_LIMIT, MAX_LIFE, MAX_SLIDING_LIMIT, MAX_WINDOW, MIN_WINDOW,
    Quota,
};
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use subject::{HashKey, Subject};
pub use time::Timestamp;
pub use window::{Calendar, CalendarUnit, Period, Window};

/// The IANA time zones of calendar windows.
pub use chrono_tz::Tz;

//! Quotas: how much in how long. Only the constructors make them, so an illegal one cannot exist.
use std::time::Duration;

use crate::{
    algorithm::{Concurrency, FixedWindow, MAX_UNITS, Rule, SlidingLog, SlidingWindow, TokenBucket},
    error::InvalidQuota,
    period::Period,
    time::{Timestamp, micros},
    window::Window,
};

/// Shortest window: below a millisecond the store's own latency decides, not the limit.
pub const MIN_WINDOW: Duration = Duration::from_millis(1);
/// Longest window, ten years: the end of the next window is still exact in a Lua double.
pub const MAX_WINDOW: Duration = Duration::from_secs(3_660 * 86_400);
/// Largest limit of a sliding window or a token bucket: its product with 2^20 ticks stays exact in a Lua double.
pub const MAX_SLIDING_LIMIT: u64 = 1_000_000_000;
/// Largest limit of a fixed window, exact in a Lua double with any cost added.
pub const MAX_FIXED_LIMIT: u64 = 1_000_000_000_000_000;
/// Largest limit of a sliding log, because it remembers every unit.
pub const MAX_LOG_LIMIT: u64 = MAX_UNITS.unsigned_abs();
/// Most slots of a concurrency limit, because each one is a record in the subject's value.
pub const MAX_CONCURRENCY: u64 = 1_000;
/// Longest life of a reservation that is not renewed.
pub const MAX_LIFE: Duration = Duration::from_secs(86_400);

/// How a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// All of this window plus the part of the previous one that still overlaps, so there is no burst at the border.
    SlidingWindow,
    /// The moment of every unit: exact over any stretch of time, for small limits.
    SlidingLog,
    /// A counter that restarts with every period.
    FixedWindow,
    /// A bucket that refills evenly and admits what it holds.
    TokenBucket,
    /// This many at a time, each until it is released or its time is up.
    Concurrency,
}

/// How much may be used in how long, and by which algorithm.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    rule: Rule,
}

impl Quota {
    /// At most `limit` in any `window`, assuming that the previous window's use was evenly spread. That is coarse for a
    /// small limit; [`sliding_log`](Self::sliding_log) is exact. `limit` 1..=10^9.
    pub fn sliding_window(limit: u64, window: Window) -> Result<Self, InvalidQuota> {
        let limit = in_range(limit, MAX_SLIDING_LIMIT)?;
        match window {
            Window::Every(length) => {
                Ok(Self { rule: Rule::SlidingWindow(SlidingWindow::new(limit, length_of(length)?)) })
            }
            Window::Calendar(_) => Err(InvalidQuota::SlidingCalendar),
        }
    }

    /// At most `limit` in any `window`, wherever it begins: each unit leaves exactly one window after it was consumed.
    /// `limit` 1..=1000, because every unit is remembered.
    pub fn sliding_log(limit: u64, window: Duration) -> Result<Self, InvalidQuota> {
        let (limit, window) = (in_range(limit, MAX_LOG_LIMIT)?, length_of(window)?);
        Ok(Self { rule: Rule::SlidingLog(SlidingLog { limit, window }) })
    }

    /// At most `limit` in each period of `window`. `limit` 1..=10^15.
    pub fn fixed_window(limit: u64, window: Window) -> Result<Self, InvalidQuota> {
        let limit = in_range(limit, MAX_FIXED_LIMIT)?;
        if let Window::Every(length) = window {
            length_of(length)?;
        }
        Ok(Self { rule: Rule::FixedWindow(FixedWindow::new(limit, window)) })
    }

    /// At most `burst` at once, refilled evenly by `limit` every `window`. In any stretch of time it admits at most
    /// `burst` plus what flowed in. `limit` and `burst` 1..=10^9; an empty bucket must fill within 3660 days.
    pub fn token_bucket(limit: u64, window: Duration, burst: u64) -> Result<Self, InvalidQuota> {
        let refill = InvalidQuota::Refill { limit, window, burst };
        let (limit, burst) = (in_range(limit, MAX_SLIDING_LIMIT)?, in_range(burst, MAX_SLIDING_LIMIT)?);
        let window = length_of(window)?;
        if i128::from(burst) * i128::from(window) > i128::from(limit) * i128::from(micros(MAX_WINDOW)) {
            return Err(refill);
        }
        Ok(Self { rule: Rule::TokenBucket(TokenBucket::new(limit, window, burst)) })
    }

    /// At most `limit` held at a time, each for `life` unless renewed. `limit` 1..=1000, `life` 1 ms to 1 day.
    pub fn concurrency(limit: u64, life: Duration) -> Result<Self, InvalidQuota> {
        let limit = in_range(limit, MAX_CONCURRENCY)?;
        let life = life_of(life).ok_or(InvalidQuota::Life { life })?;
        Ok(Self { rule: Rule::Concurrency(Concurrency { limit, life }) })
    }

    /// The algorithm that counts.
    pub fn algorithm(&self) -> Algorithm {
        match self.rule {
            Rule::SlidingWindow(_) => Algorithm::SlidingWindow,
            Rule::SlidingLog(_) => Algorithm::SlidingLog,
            Rule::FixedWindow(_) => Algorithm::FixedWindow,
            Rule::TokenBucket(_) => Algorithm::TokenBucket,
            Rule::Concurrency(_) => Algorithm::Concurrency,
        }
    }

    /// How much in a window; for a token bucket, how much flows in.
    pub fn limit(&self) -> u64 {
        match &self.rule {
            Rule::TokenBucket(rule) => rule.limit.unsigned_abs(),
            rule => rule.limit().unsigned_abs(),
        }
    }

    /// The most that may be used at once: a token bucket's size, otherwise the limit.
    pub fn burst(&self) -> u64 {
        self.rule.limit().unsigned_abs()
    }

    /// The window; for a token bucket, the time in which the limit flows in; for a concurrency
    /// limit, the life of a reservation.
    pub fn window(&self) -> Window {
        match &self.rule {
            Rule::SlidingWindow(rule) => Window::Every(Duration::from_micros(rule.window.unsigned_abs())),
            Rule::SlidingLog(rule) => Window::Every(Duration::from_micros(rule.window.unsigned_abs())),
            Rule::FixedWindow(rule) => rule.window,
            Rule::TokenBucket(rule) => Window::Every(Duration::from_micros(rule.window.unsigned_abs())),
            Rule::Concurrency(rule) => Window::Every(Duration::from_micros(rule.life.unsigned_abs())),
        }
    }

    /// The window that `now` is in. For a log, a token bucket or a concurrency limit, whose windows begin anywhere,
    /// the window that begins at `now`.
    pub fn period(&self, now: Timestamp) -> Period {
        match (&self.rule, self.window()) {
            (Rule::SlidingLog(_) | Rule::TokenBucket(_) | Rule::Concurrency(_), Window::Every(length)) => {
                Period { start: now, end: now.saturating_add(length) }
            }
            (_, window) => window.period(now),
        }
    }

    pub(crate) fn rule(&self) -> &Rule {
        &self.rule
    }
}

fn in_range(limit: u64, largest: u64) -> Result<i64, InvalidQuota> {
    let refused = InvalidQuota::Limit { limit, largest };
    if limit == 0 || limit > largest { Err(refused) } else { i64::try_from(limit).map_err(|_| refused) }
}

/// A reservation's life in µs.
pub(crate) fn life_of(life: Duration) -> Option<i64> {
    let whole = life.subsec_nanos().is_multiple_of(1_000);
    (whole && (MIN_WINDOW..=MAX_LIFE).contains(&life)).then(|| micros(life))
}

/// The window's length in µs.
fn length_of(window: Duration) -> Result<i64, InvalidQuota> {
    let whole = window.subsec_nanos().is_multiple_of(1_000);
    if whole && (MIN_WINDOW..=MAX_WINDOW).contains(&window) {
        Ok(micros(window))
    } else {
        Err(InvalidQuota::Window { window })
    }
}

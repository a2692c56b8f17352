//! A limit as plans and keys define it. The limiter decides it.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{Invalid, plan::OVERAGE};

/// Largest `limit`: both stores count exactly up to it.
pub const MAX_LIMIT: u64 = 1_000_000_000;
/// Largest `limit` with [`Algorithm::SlidingLog`], which remembers every unit.
pub const MAX_LOG_LIMIT: u64 = 1_000;
/// Longest window, 366 days: a leap year.
pub const MAX_WINDOW_SECONDS: u64 = 366 * 86_400;
/// An empty bucket must fill within ten years, as the limiter requires.
const MAX_FILL_SECONDS: u128 = 3_660 * 86_400;
/// Most limits of one plan or key: each check decides all of them.
pub const MAX_LIMITS: usize = 16;
/// Names under which a check's answer and its violations report what is no limit of a plan or key.
const RESERVED: [&str; 3] = ["quota", OVERAGE, "spend-cap"];

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The current window's count plus the share of the previous one that still overlaps.
    #[default]
    SlidingWindow,
    /// The moment of every unit: exact in any window, for limits up to [`MAX_LOG_LIMIT`].
    SlidingLog,
    /// A count that restarts at each multiple of the window, or with each period of the calendar.
    FixedWindow,
    /// A bucket of `burst` units that refills by `limit` per window, evenly (GCRA).
    TokenBucket,
}

/// The requests that a limit counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Each key has its own counter.
    #[default]
    Key,
    /// All keys of one `owner_id` share a counter; a key without an owner has its own.
    Owner,
}

/// The unit of a calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CalendarUnit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A window that follows a civil calendar instead of a fixed length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarSpec {
    /// The kind of period.
    pub unit: CalendarUnit,
    /// The name of an IANA time zone.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The day on which a week (1 Monday to 7), month or year (1 to 31, or its last day) begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor_day: Option<u8>,
}

fn utc() -> String {
    "UTC".into()
}

impl CalendarSpec {
    /// The time zone; None when no zone has that name.
    pub fn zone(&self) -> Option<Tz> {
        self.timezone.parse().ok()
    }

    /// The nominal length of a period: months have 30 days, years 365.
    pub fn nominal_seconds(&self) -> u64 {
        match self.unit {
            CalendarUnit::Minute => 60,
            CalendarUnit::Hour => 3_600,
            CalendarUnit::Day => 86_400,
            CalendarUnit::Week => 7 * 86_400,
            CalendarUnit::Month => 30 * 86_400,
            CalendarUnit::Year => 365 * 86_400,
        }
    }

    fn validate(&self, at: &str, invalid: &mut Invalid) {
        invalid.require(
            self.zone().is_some(),
            &format!("{at}/timezone"),
            "an IANA time zone such as \"Europe/Berlin\"",
        );
        let (allowed, text) = match self.unit {
            CalendarUnit::Week => (1..=7, "from 1 (Monday) to 7"),
            CalendarUnit::Month | CalendarUnit::Year => (1..=31, "from 1 to 31"),
            CalendarUnit::Minute | CalendarUnit::Hour | CalendarUnit::Day => (1..=1, "absent for this unit"),
        };
        let fits = self.anchor_day.is_none_or(|day| allowed.contains(&day));
        invalid.require(fits, &format!("{at}/anchor_day"), text);
    }
}

/// What a limit answers while the shared store is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The node decides with its own memory.
    #[default]
    Local,
    /// Every request passes.
    Allow,
    /// No request passes.
    Deny,
}

/// A limit by name: at most `limit` units in any `window` seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    /// Unique within plan and key. A key's limit replaces the plan's of the same name.
    pub name: String,
    /// How requests are counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Units per window.
    pub limit: u64,
    /// Seconds; may be absent (0) when `calendar` is set.
    #[serde(default)]
    pub window: u64,
    /// Fixed windows may follow the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarSpec>,
    /// Size of a token bucket; `limit` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Units of this limit that one requested unit takes.
    #[serde(default = "one")]
    pub cost: u32,
    /// The requests that are counted together.
    #[serde(default)]
    pub per: Per,
    /// The answer while the shared store is down.
    #[serde(default)]
    pub on_failure: OnFailure,
}

fn one() -> u32 {
    1
}

impl LimitSpec {
    /// Seconds of a window; for a calendar period, its nominal length.
    pub fn window_seconds(&self) -> u64 {
        self.calendar.as_ref().map_or(self.window, CalendarSpec::nominal_seconds)
    }

    /// A fixed window that follows the calendar months of UTC.
    pub fn monthly(name: &str, limit: u64) -> Self {
        let calendar = CalendarSpec { unit: CalendarUnit::Month, timezone: utc(), anchor_day: None };
        Self { algorithm: Algorithm::FixedWindow, calendar: Some(calendar), ..Self::sliding(name, limit, 0) }
    }

    /// A sliding window, the default algorithm.
    pub fn sliding(name: &str, limit: u64, window: u64) -> Self {
        Self {
            name: name.to_owned(),
            algorithm: Algorithm::SlidingWindow,
            limit,
            window,
            calendar: None,
            burst: None,
            cost: 1,
            per: Per::Key,
            on_failure: OnFailure::Local,
        }
    }

    /// Adds an error below `pointer` for every wrong member of `limits`.
    pub fn validate_all(limits: &[Self], pointer: &str, invalid: &mut Invalid) {
        invalid.require(limits.len() <= MAX_LIMITS, pointer, format!("at most {MAX_LIMITS} limits"));
        for (index, limit) in limits.iter().enumerate() {
            limit.validate(&format!("{pointer}/{index}"), invalid);
            if limits.iter().take(index).any(|earlier| earlier.name == limit.name) {
                invalid.push(format!("{pointer}/{index}/name"), "each name may stand once");
            }
        }
    }

    fn validate(&self, at: &str, invalid: &mut Invalid) {
        let plain = self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        invalid.require(
            plain && (1..=64).contains(&self.name.len()) && !RESERVED.contains(&self.name.as_str()),
            &format!("{at}/name"),
            "1 to 64 letters, digits, '-', '_' or '.', and not \"quota\", \"overage\" or \"spend-cap\"",
        );
        self.validate_numbers(at, invalid);
    }

    /// Everything but the name.
    pub(crate) fn validate_numbers(&self, at: &str, invalid: &mut Invalid) {
        let (largest, of) = match self.algorithm {
            Algorithm::SlidingLog => (MAX_LOG_LIMIT, " with the algorithm \"sliding_log\""),
            _ => (MAX_LIMIT, ""),
        };
        let fits = (1..=largest).contains(&self.limit);
        invalid.require(fits, &format!("{at}/limit"), format!("from 1 to {largest}{of}"));
        match &self.calendar {
            None => invalid.require(
                (1..=MAX_WINDOW_SECONDS).contains(&self.window),
                &format!("{at}/window"),
                format!("from 1 to {MAX_WINDOW_SECONDS} seconds"),
            ),
            Some(calendar) => {
                let fixed = self.algorithm == Algorithm::FixedWindow;
                invalid.require(fixed, &format!("{at}/calendar"), "only with the algorithm \"fixed_window\"");
                calendar.validate(&format!("{at}/calendar"), invalid);
                let nominal = calendar.nominal_seconds();
                let agrees = self.window == 0 || self.window == nominal;
                invalid.require(agrees, &format!("{at}/window"), format!("absent, or {nominal} with this calendar"));
            }
        }
        let burst = self.burst.is_none_or(|b| self.algorithm == Algorithm::TokenBucket && (1..=MAX_LIMIT).contains(&b));
        invalid.require(
            burst,
            &format!("{at}/burst"),
            format!("from 1 to {MAX_LIMIT}, only with the algorithm \"token_bucket\""),
        );
        let fill = u128::from(self.burst.unwrap_or(self.limit)) * u128::from(self.window);
        let fills = self.algorithm != Algorithm::TokenBucket || fill <= u128::from(self.limit) * MAX_FILL_SECONDS;
        invalid.require(fills, &format!("{at}/burst"), "so small that an empty bucket is full within 3660 days");
        invalid.require((1..=1_000_000).contains(&self.cost), &format!("{at}/cost"), "from 1 to 1000000");
    }
}

//! A limit as plans and keys state it. How it is decided is the limiter's business.

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Largest `limit` that may be set: both stores count exactly up to it.
pub const MAX_LIMIT: u64 = 1_000_000_000;
/// Longest window: 366 days.
pub const MAX_WINDOW_SECONDS: u64 = 366 * 86_400;
/// How many limits one plan or key may state.
pub const MAX_LIMITS: usize = 16;

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The current window's count plus the share of the previous one that still overlaps.
    #[default]
    SlidingWindow,
    /// A count that starts anew at each multiple of the window.
    FixedWindow,
}

/// What a limit answers when the shared store cannot be asked.
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
    /// Identity within plan and key: a key's limit replaces the plan's of the same name.
    pub name: String,
    /// How requests are counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Units per window.
    pub limit: u64,
    /// Seconds.
    pub window: u64,
    /// What to answer without the shared store.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl LimitSpec {
    /// A sliding window, the default algorithm.
    pub fn sliding(name: &str, limit: u64, window: u64) -> Self {
        Self { name: name.to_owned(), algorithm: Algorithm::SlidingWindow, limit, window, on_failure: OnFailure::Local }
    }

    /// Names every wrong member of `limits`, under `pointer`.
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
            plain && (1..=64).contains(&self.name.len()) && self.name != "quota",
            &format!("{at}/name"),
            "1 to 64 letters, digits, '-', '_' or '.', and not \"quota\"",
        );
        invalid.require(
            (1..=MAX_LIMIT).contains(&self.limit),
            &format!("{at}/limit"),
            format!("from 1 to {MAX_LIMIT}"),
        );
        invalid.require(
            (1..=MAX_WINDOW_SECONDS).contains(&self.window),
            &format!("{at}/window"),
            format!("from 1 to {MAX_WINDOW_SECONDS} seconds"),
        );
    }
}

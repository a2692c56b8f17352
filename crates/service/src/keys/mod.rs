//! API keys: made, read, changed, ended.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, LimitSpec, Plan};

use crate::{Error, Service};

mod change;
mod read;
mod size;
mod state;

pub use change::{ApiKeyChange, NewApiKey};
pub use read::KeyStats;
pub use size::NewSize;

pub(crate) const KEY: &str = "API key";

/// API keys.
#[derive(Clone, Copy)]
pub struct Keys<'a>(&'a Service);

impl Service {
    /// API keys.
    pub fn keys(&self) -> Keys<'_> {
        Keys(self)
    }
}

/// A key with the plan it is on.
#[derive(Clone, Debug)]
pub struct KeyDetail {
    /// The record.
    pub key: ApiKey,
    /// Its plan.
    pub plan: Plan,
}

/// A key whose usage is asked for: also one that was deleted.
#[derive(Clone, Debug)]
pub struct UsedKey {
    /// The record and its plan.
    pub detail: KeyDetail,
    /// When it was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl KeyDetail {
    /// The limits in force; the first is the one shown as the key's `rate_limit`.
    pub fn limits(&self) -> Vec<LimitSpec> {
        self.key.effective_limits(&self.plan.limits)
    }
}

/// `If-Match`: the version must be the expected one, if one is.
pub(crate) fn require_version(expected: Option<i64>, current: i64) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != current => Err(Error::VersionMismatch { current }),
        _ => Ok(()),
    }
}

//! API keys: create, read, change, end.

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

/// Use cases of API keys.
#[derive(Clone, Copy)]
pub struct Keys<'a>(&'a Service);

impl Service {
    /// API keys.
    pub fn keys(&self) -> Keys<'_> {
        Keys(self)
    }
}

/// A key with its plan.
#[derive(Clone, Debug)]
pub struct KeyDetail {
    /// The key's record.
    pub key: ApiKey,
    /// The plan that the key is on.
    pub plan: Plan,
}

/// A key whose usage is read. It may be deleted.
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

/// Checks `If-Match`: the version must equal the expected one, if there is one.
pub(crate) fn require_version(expected: Option<i64>, current: i64) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != current => Err(Error::VersionMismatch { current }),
        _ => Ok(()),
    }
}

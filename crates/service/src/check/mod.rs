//! One check: the hot path in one folder.
//!
//! Reading order: [`CheckRequest`], [`decide`] (from key to journal), `find` (the key behind a credential) with
//! [`cache`] and [`known_key`] (what is known of a key), [`subject`] (whose counters change) and
//! [`effective_limits`] and [`spend_cap`] (by which limits), `admission` (may the key be used at all), [`outcome`] (the result),
//! [`standing`] (where limits stand).

use crate::Service;

pub(crate) mod admission;
pub mod cache;
pub mod decide;
pub mod effective_limits;
mod find;
pub mod http_text;
pub mod known_key;
pub mod outcome;
mod request;
pub mod spend_cap;
pub mod standing;
pub mod subject;

pub use request::{CheckRequest, MAX_REQUESTS};

/// Checks keys, and reports or resets where their limits stand.
#[derive(Clone, Copy)]
pub struct Checks<'a>(pub(crate) &'a Service);

impl Service {
    /// Checks keys, and reports or resets where their limits stand.
    pub fn checks(&self) -> Checks<'_> {
        Checks(self)
    }
}

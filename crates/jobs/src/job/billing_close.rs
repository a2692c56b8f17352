//! Closes a month for a range of keys.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use tollgate_domain::{TenantId, billing::DuePeriod};

use crate::{Backoff, Priority, belongs::Belongs};

/// The keys from `first` to `last`, both of them, whose next period is that of `first`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The first key, and the period.
    pub first: DuePeriod,
    /// The last key.
    pub last: DuePeriod,
}

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "billing_close";
/// Nobody waits for it.
pub const PRIORITY: Priority = Priority::Default;
/// The sweep queues what is still due again.
pub const MAX_ATTEMPTS: u32 = 5;
/// Some thousands of keys at less than a millisecond each, on a database that others use too.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// A busy database is often free a moment later.
pub const BACKOFF: Backoff = Backoff::STORES;

impl Belongs for Payload {
    /// The tenant of a range within one; the installation's otherwise.
    fn tenants(&self) -> BTreeSet<TenantId> {
        let one = self.first.tenant_id == self.last.tenant_id;
        if one { BTreeSet::from([self.first.tenant_id]) } else { BTreeSet::new() }
    }
}

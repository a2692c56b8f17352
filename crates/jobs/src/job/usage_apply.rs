//! Adds the sums of one span of a node's journal to the database and moves that journal's cursor in the same
//! transaction.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
pub use tollgate_domain::usage::UsageBatch as Payload;
use tollgate_domain::{Counts, TenantId, usage::KeyUsage};

use crate::{Backoff, Priority, belongs::Belongs};

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "usage_apply";
/// Bills and quotas wait for it.
pub const PRIORITY: Priority = Priority::Critical;
/// With up to a minute between attempts, usage survives an hour and a half without a database.
pub const MAX_ATTEMPTS: u32 = 100;
/// One transaction of a few thousand rows at most.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// It waits for our own database.
pub const BACKOFF: Backoff = Backoff::STORES;

impl Belongs for Payload {
    fn tenants(&self) -> BTreeSet<TenantId> {
        self.chunks.iter().flat_map(|chunk| chunk.rows.tenants().unwrap_or_default()).collect()
    }

    /// Sums of the tenant's own keys instead of the packed rows.
    fn shown_to(&self, tenant_id: TenantId) -> Value {
        let rows = self.chunks.iter().flat_map(|chunk| chunk.rows.unpack().unwrap_or_default());
        let keys: Vec<_> = rows.filter(|key| key.tenant_id == tenant_id).map(|key| shown(&key)).collect();
        json!({"span": self.span, "keys": keys})
    }
}

fn shown(key: &KeyUsage) -> Value {
    let mut counts = Counts::default();
    key.minutes.iter().for_each(|minute| counts.add(&minute.counts));
    json!({"api_key_id": key.api_key_id, "minutes": key.minutes.len(), "counts": counts})
}

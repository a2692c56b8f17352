//! Records which subjects were refused by which limits, summed over one span of a node's journal.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tollgate_domain::TenantId;
pub use tollgate_domain::usage::ViolationBatch as Payload;

use crate::{Backoff, Priority, belongs::Belongs};

/// The stored name; a change would make queued jobs unreadable.
pub const NAME: &str = "violation_record";
/// It affects no bill, but operators watch it.
pub const PRIORITY: Priority = Priority::Default;
/// As for usage: the span stays in the journal until the cursor has moved.
pub const MAX_ATTEMPTS: u32 = 100;
/// One transaction of a few thousand rows at most.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// It waits for our own database.
pub const BACKOFF: Backoff = Backoff::STORES;

impl Belongs for Payload {
    fn tenants(&self) -> BTreeSet<TenantId> {
        self.rows.iter().map(|row| row.tenant_id).collect()
    }

    /// The tenant's own rows.
    fn shown_to(&self, tenant_id: TenantId) -> Value {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.tenant_id == tenant_id).collect();
        json!({"span": self.span, "rows": rows})
    }
}

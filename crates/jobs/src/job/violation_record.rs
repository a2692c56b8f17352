//! Records who was refused by what, summed over a span of a node's journal.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tollgate_domain::TenantId;
pub use tollgate_domain::usage::ViolationBatch as Payload;

use crate::{Backoff, Priority, belongs::Belongs};

/// As stored.
pub const NAME: &str = "violation_record";
/// Nobody is billed for it, but operators watch it.
pub const PRIORITY: Priority = Priority::Default;
/// As for usage: the span stays in the journal until the cursor has moved.
pub const MAX_ATTEMPTS: u32 = 100;
/// One transaction of a few thousand rows at most.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// As for usage.
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

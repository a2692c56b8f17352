//! Whose a job is.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use tollgate_domain::TenantId;

/// A job that carries rows of keys belongs to those keys' tenants, and each sees its own rows only. Any other job is the
/// installation's, whose operator is the tenant of the first start.
pub(crate) trait Belongs: Serialize {
    /// Whose rows it carries.
    fn tenants(&self) -> BTreeSet<TenantId> {
        BTreeSet::new()
    }

    /// What `tenant_id` may see of the payload.
    fn shown_to(&self, _tenant_id: TenantId) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

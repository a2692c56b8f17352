//! Which tenants a job belongs to.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use tollgate_domain::TenantId;

/// A job that carries rows of keys belongs to those keys' tenants, and each of them sees only its own rows. Any other
/// job belongs to the installation, whose operator is the tenant made at the first start.
pub(crate) trait Belongs: Serialize {
    /// The tenants whose rows it carries.
    fn tenants(&self) -> BTreeSet<TenantId> {
        BTreeSet::new()
    }

    /// The part of the payload that `tenant_id` may see.
    fn shown_to(&self, _tenant_id: TenantId) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

//! Admin tokens: who may manage keys, plans and usage.

use chrono::{DateTime, Utc};

use crate::{ScopeSet, TenantId, TokenId};

/// A token's record; of its secret only the hash is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Its id.
    pub id: TokenId,
    /// Whose data it opens.
    pub tenant_id: TenantId,
    /// What an operator calls it.
    pub name: String,
    /// Displayable start of the secret.
    pub prefix: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops to work, if ever.
    pub expires_at: Option<DateTime<Utc>>,
}

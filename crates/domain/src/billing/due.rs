//! A period of a key that is to be closed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, TenantId};

/// A key and its next period. They are ordered by period, tenant and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DuePeriod {
    /// The period's start.
    pub period_start: DateTime<Utc>,
    /// Whose key.
    pub tenant_id: TenantId,
    /// Which key.
    pub api_key_id: ApiKeyId,
}

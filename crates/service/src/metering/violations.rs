//! Refusals by limits and quotas, a page at a time.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{ApiKeyId, TenantId, ViolationCursor, usage::ViolationRow};

use super::Metering;
use crate::Error;

/// One page of violations, newest first.
pub struct ViolationPage {
    /// The rows.
    pub rows: Vec<ViolationRow>,
    /// Where the next page begins; None on the last page.
    pub next: Option<ViolationCursor>,
}

impl Metering<'_> {
    /// Violations of the last `hours` (1 to 168), newest first, `limit` at a time.
    pub async fn violations(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        hours: i64,
        before: Option<&ViolationCursor>,
        limit: i64,
    ) -> Result<ViolationPage, Error> {
        self.0.keys().get_even_deleted(tenant_id, id).await?;
        let since: DateTime<Utc> = self.0.clock().now() - TimeDelta::hours(hours);
        let rows = self.0.repository().violations().list(tenant_id, id, since, before, limit).await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let next = rows.last().filter(|_| full).map(ViolationCursor::from);
        Ok(ViolationPage { rows, next })
    }
}

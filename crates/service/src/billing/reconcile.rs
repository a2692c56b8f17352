//! Reconciliation: what journals, usage and records say must be one figure.

use chrono::TimeDelta;
use tollgate_domain::{
    Page, Paged, RecordId, TenantId,
    billing::finding::{Finding, FindingFilter},
    period::day_of,
};
use tollgate_jobs::{
    Job, Push,
    job::reconciliation::{NAME, Payload},
};
use uuid::Uuid;

use super::Billing;
use crate::Error;

const FINDING: &str = "finding";

impl Billing<'_> {
    /// Compares everything, and stores what does not agree. Returns how many differences are new. A comparison that usage overtakes
    /// would differ for a moment: what differs is compared again, and counts only if it differs alike.
    pub async fn reconcile(self) -> Result<u64, Error> {
        let now = self.0.clock().now();
        let billing = self.0.repository().billing();
        // The minutes of the oldest day may be half gone.
        let kept = TimeDelta::days(i64::from(self.0.config().retention.usage_minutes_days) - 1);
        let minutes_since = day_of(now - kept);
        let mut found = billing.compare_units(minutes_since).await?;
        found.extend(billing.compare_journals().await?);
        if !found.is_empty() {
            let mut again = billing.compare_units(minutes_since).await?;
            again.extend(billing.compare_journals().await?);
            found.retain(|difference| again.contains(difference));
        }
        let mut after = (TenantId(Uuid::nil()), RecordId(Uuid::nil()));
        loop {
            let (differences, next) = billing.compare_digests(after).await?;
            found.extend(differences);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        let new = billing.store_findings(&found, now, || self.0.clock().new_id()).await?;
        for one in &found {
            let (kind, subject) = (one.kind.as_str(), &one.subject);
            tracing::error!(kind, subject, expected = one.expected, actual = one.actual, "figures do not agree");
        }
        self.0.metrics().reconciliation_findings.set(billing.open_findings().await?);
        Ok(new)
    }

    /// Queues a reconciliation and returns the id of its job.
    pub async fn reconcile_now(self) -> Result<String, Error> {
        let id = format!("{NAME}:{}", self.0.clock().new_id());
        let push = Push { id: Some(id.clone()), ..Push::default() };
        self.0.queue().push(&Job::Reconciliation(Payload {}), push).await?;
        Ok(id)
    }

    /// A page of findings, the newest first.
    pub async fn findings(
        self,
        tenant_id: TenantId,
        filter: FindingFilter,
        page: Page,
    ) -> Result<Paged<Finding>, Error> {
        Ok(self.0.repository().billing().findings(tenant_id, filter, page).await?)
    }

    /// Says that somebody has seen a finding.
    pub async fn acknowledge(self, tenant_id: TenantId, id: Uuid, note: Option<&str>) -> Result<Finding, Error> {
        let seen = self.0.repository().billing().acknowledge_finding(tenant_id, id, note).await?;
        seen.ok_or(Error::NotFound(FINDING))
    }
}

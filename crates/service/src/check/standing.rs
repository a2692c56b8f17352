//! Where limits stand, and resetting them by hand.

use std::sync::Arc;

use chrono::TimeDelta;
use tollgate_domain::{ApiKeyId, BillingPeriod, LimitSpec, TenantId, plan::OVERAGE};

use super::{Checks, subject::timestamp};
use crate::{CheckOutcome, CheckRequest, Error, KnownKey};

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The plan's limit, unchanged, or what applies beyond its quota.
    Plan,
    /// The key's own limit, which replaces the plan's of that name or adds to the plan's.
    Key,
}

/// What a check would answer, and why.
pub struct Preview {
    /// What the limits would answer. Nothing was consumed.
    pub checked: CheckOutcome,
    /// Why the key may not be used at all, if so.
    pub rejection: Option<Error>,
    /// One reason per rate limit, in their order, and last of what applies beyond the quota, even while it does not.
    pub reasons: Vec<Reason>,
}

impl Preview {
    /// Whether the request would be admitted.
    pub fn allowed(&self) -> bool {
        self.rejection.is_none() && self.checked.allowed()
    }
}

/// Why a limit applies, and how exact it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Where the limit comes from.
    pub origin: Origin,
    /// Most units admitted beyond the limit's size in one window while nodes hold slices of it; 0 without slices.
    pub max_overshoot: u64,
}

impl Checks<'_> {
    /// What a key's limits would answer to one unit, and the number of its violations in the last 24 hours.
    pub async fn info(self, known_key: Arc<KnownKey>) -> Result<(CheckOutcome, i64), Error> {
        let since = self.0.clock().now() - TimeDelta::days(1);
        let violations =
            self.0.repository().violations().count(known_key.key.tenant_id, known_key.key.id, since).await?;
        Ok((self.peek(known_key, 1).await?, violations))
    }

    /// What a check would answer, and why. Consumes and records nothing.
    pub async fn preview(self, tenant_id: TenantId, id: ApiKeyId, request: &CheckRequest) -> Result<Preview, Error> {
        request.validate()?;
        let known_key = self.known_key(tenant_id, id).await?;
        let rejection = crate::check::admission::admissible(&known_key, request, self.0.clock().now()).err();
        let plan = &known_key.counted.limits.plan;
        let plan_has = |spec: &LimitSpec| plan.limits.contains(spec) || spec.name == OVERAGE;
        let takes_slices = !matches!(self.0.limiter(), tollgate_limiter::Limiter::Memory(_));
        let reason = |(spec, limit): (&LimitSpec, &tollgate_limiter::Limit)| Reason {
            origin: if plan_has(spec) { Origin::Plan } else { Origin::Key },
            max_overshoot: if takes_slices { limit.max_overshoot() } else { 0 },
        };
        let reasons =
            known_key.counted.limits.specs.iter().zip(known_key.counted.limits.rate_limits()).map(reason).collect();
        let checked = self.peek(known_key, request.requests).await?;
        Ok(Preview { checked, rejection, reasons })
    }

    /// Resets a key's counters to zero on every node. The period's quota equals what was billed and stays.
    pub async fn reset(self, tenant_id: TenantId, id: ApiKeyId) -> Result<CheckOutcome, Error> {
        let known_key = self.known_key(tenant_id, id).await?;
        self.0.limiter().reset(known_key.counted.subject).await?;
        let now = self.0.clock().now();
        let period = BillingPeriod::containing(now);
        let used = self.0.repository().usage().of_period(tenant_id, id, period.start).await?.allowed;
        let raises: Vec<_> = known_key.counted.raises(timestamp(period.start), used).collect();
        if !raises.is_empty() {
            self.0.limiter().raise(&raises, timestamp(now)).await?;
        }
        self.peek(known_key, 1).await
    }
}

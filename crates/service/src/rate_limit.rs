//! Where limits stand, and how they are changed and reset by hand.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{ApiKeyId, BillingPeriod, Invalid, LimitSpec, TenantId, usage::ViolationRow};
use tollgate_repository::ViolationCursor;

use crate::{CheckRequest, Checked, Entry, Error, Service, api_keys::KeyDetail};

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The plan's, as it is.
    Plan,
    /// The key's own, in place of the plan's of that name or beside it.
    Key,
}

/// What a check would answer, and why.
pub struct Preview {
    /// Where the limits stand; nothing was consumed.
    pub checked: Checked,
    /// Whether the request would be admitted.
    pub allowed: bool,
    /// Why the key may not be used at all, if so.
    pub rejection: Option<Error>,
    /// Of each rate limit, in their order.
    pub reasons: Vec<Reason>,
}

/// Why a limit applies, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Where it comes from.
    pub origin: Origin,
    /// Most units admitted beyond its size in one window while nodes hold slices of it; 0 where none are taken.
    pub max_overshoot: u64,
}

/// One page of violations, newest first.
pub struct Violations {
    /// The rows.
    pub rows: Vec<ViolationRow>,
    /// Where the next page begins; None at the end.
    pub next: Option<ViolationCursor>,
}

impl Service {
    /// Where a key's limits stand, and its violations of the last 24 hours.
    pub async fn limit_info(&self, entry: Arc<Entry>) -> Result<(Checked, i64), Error> {
        let since = self.clock().now() - TimeDelta::days(1);
        let violations = self.repository().violation_count(entry.key.tenant_id, entry.key.id, since).await?;
        Ok((self.look(entry).await?, violations))
    }

    /// What a check would answer and why; consumes nothing and writes nothing down.
    pub async fn preview(&self, tenant_id: TenantId, id: ApiKeyId, request: &CheckRequest) -> Result<Preview, Error> {
        request.validate()?;
        let entry = self.entry(tenant_id, id).await?;
        let rejection = crate::check::admissible(&entry, request, self.clock().now()).err();
        let plan_has = |spec: &&LimitSpec| entry.terms.plan.limits.contains(spec);
        let quota = entry.terms.quota_index();
        let rate_limits = entry.terms.limits().enumerate().filter(|(index, _)| Some(*index) != quota);
        let takes_slices = !matches!(self.limiter(), tollgate_limiter::Limiter::Memory(_));
        let reason = |(spec, (_, limit)): (&LimitSpec, (usize, &tollgate_limiter::Limit))| Reason {
            origin: if plan_has(&spec) { Origin::Plan } else { Origin::Key },
            max_overshoot: if takes_slices { limit.max_overshoot() } else { 0 },
        };
        let reasons = entry.terms.specs.iter().zip(rate_limits).map(reason).collect();
        let checked = self.look(entry).await?;
        let fits = |(status, limit): (&tollgate_limiter::LimitStatus, &tollgate_limiter::Limit)| {
            limit.mode() == tollgate_limiter::Mode::Count
                || status.remaining() >= u64::from(request.requests) * u64::from(limit.weight())
        };
        let allowed = rejection.is_none() && checked.decision.limits.iter().zip(checked.entry.terms.limits()).all(fits);
        Ok(Preview { checked, allowed, rejection, reasons })
    }

    /// Sets a key's counters back to zero on every node. The period's quota is what was billed and stays.
    pub async fn reset_limits(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<Checked, Error> {
        let entry = self.entry(tenant_id, id).await?;
        self.limiter().reset(entry.subject).await?;
        let now = self.clock().now();
        let period = BillingPeriod::containing(now);
        if entry.terms.quota_index().is_some() {
            let used = self.repository().period_usage(tenant_id, id, period.start).await?.allowed;
            let raise = entry.raise(crate::entry::timestamp(period.start), used);
            self.limiter().raise(raise.as_slice(), crate::entry::timestamp(now)).await?;
        }
        self.look(entry).await
    }

    /// The id of the key whose text is `secret`.
    pub async fn key_id(&self, tenant_id: TenantId, secret: &str) -> Result<ApiKeyId, Error> {
        Ok(self.lookup_key(tenant_id, secret).await?.key.id)
    }

    /// Changes the size, and with `window` (seconds) the window, of the key's first limit; with `expected`, only if that is
    /// the key's version. Counters are kept unless the window changes.
    pub async fn set_limit(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        new_limit: u64,
        window: Option<u64>,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        let changed = self.change_key(tenant_id, id, expected, None, |key, plan, _| {
            let of_plan = plan.map_or(&[][..], |plan| &plan.limits);
            let first = key.effective_limits(of_plan).into_iter().next();
            let first = first.ok_or_else(|| Error::Conflict("the key has no limit to change".into()))?;
            let calendar = first.calendar.clone().filter(|_| window.is_none());
            let limit = LimitSpec { limit: new_limit, window: window.unwrap_or(first.window), calendar, ..first };
            let mut invalid = Invalid::none();
            LimitSpec::validate_all(std::slice::from_ref(&limit), "", &mut invalid);
            for error in &mut invalid.errors {
                error.pointer = if error.pointer.ends_with("/limit") { "/new_limit".into() } else { "/window".into() };
            }
            invalid.finish()?;
            match key.limits.iter_mut().find(|own| own.name == limit.name) {
                Some(own) => *own = limit,
                None => key.limits.push(limit),
            }
            Ok(())
        });
        changed.await
    }

    /// Violations of the last `hours` (1 to 168), newest first, `limit` at a time.
    pub async fn violations(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        hours: i64,
        before: Option<&ViolationCursor>,
        limit: i64,
    ) -> Result<Violations, Error> {
        self.entry(tenant_id, id).await?;
        let since: DateTime<Utc> = self.clock().now() - TimeDelta::hours(hours);
        let rows = self.repository().violations(tenant_id, id, since, before, limit).await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let next = rows.last().filter(|_| full).map(ViolationCursor::from);
        Ok(Violations { rows, next })
    }
}

//! Where limits stand, and how they are changed and reset by hand.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{ApiKeyId, BillingPeriod, Invalid, LimitSpec, TenantId, ViolationCursor, usage::ViolationRow};

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
    /// What the limits would answer; nothing was consumed.
    pub checked: Checked,
    /// Why the key may not be used at all, if so.
    pub rejection: Option<Error>,
    /// Of each rate limit, in their order.
    pub reasons: Vec<Reason>,
}

impl Preview {
    /// Whether the request would be admitted.
    pub fn allowed(&self) -> bool {
        self.rejection.is_none() && self.checked.allowed()
    }
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

/// What a limit is changed to; what is absent stays.
#[derive(Clone, Copy, Debug)]
pub struct NewSize {
    /// Units per window.
    pub limit: u64,
    /// Seconds.
    pub window: Option<u64>,
    /// Of a token bucket.
    pub burst: Option<u64>,
}

impl NewSize {
    /// `spec` in this size. Members are named as the API has them.
    fn of(self, spec: LimitSpec) -> Result<LimitSpec, Invalid> {
        let mut invalid = Invalid::none();
        let has_own_burst = spec.burst.is_some() && self.burst.is_none();
        invalid.require(!has_own_burst, "/burst", "the new size of the bucket, which has a burst of its own");
        let drops_calendar = spec.calendar.is_some() && self.window.is_some();
        invalid.require(!drops_calendar, "/window", "absent: the limit counts in periods of the calendar");
        let (window, burst) = (self.window.unwrap_or(spec.window), self.burst.or(spec.burst));
        let changed = LimitSpec { limit: self.limit, window, burst, ..spec };
        let mut wrong = Invalid::none();
        LimitSpec::validate_all(std::slice::from_ref(&changed), "", &mut wrong);
        for error in wrong.errors {
            let member = error.pointer.rsplit('/').next().unwrap_or_default();
            let pointer = if member == "limit" { "/new_limit".to_owned() } else { format!("/{member}") };
            if invalid.errors.iter().all(|earlier| earlier.pointer != pointer) {
                invalid.push(pointer, error.detail);
            }
        }
        invalid.finish().map(|()| changed)
    }
}

impl Service {
    /// What a key's limits would answer to one unit, and its violations of the last 24 hours.
    pub async fn limit_info(&self, entry: Arc<Entry>) -> Result<(Checked, i64), Error> {
        let since = self.clock().now() - TimeDelta::days(1);
        let violations = self.repository().violations().count(entry.key.tenant_id, entry.key.id, since).await?;
        Ok((self.peek(entry, 1).await?, violations))
    }

    /// What a check would answer and why; consumes nothing and writes nothing down.
    pub async fn preview(&self, tenant_id: TenantId, id: ApiKeyId, request: &CheckRequest) -> Result<Preview, Error> {
        request.validate()?;
        let entry = self.entry(tenant_id, id).await?;
        let rejection = crate::check::admissible(&entry, request, self.clock().now()).err();
        let plan_has = |spec: &&LimitSpec| entry.terms.plan.limits.contains(spec);
        let takes_slices = !matches!(self.limiter(), tollgate_limiter::Limiter::Memory(_));
        let reason = |(spec, limit): (&LimitSpec, &tollgate_limiter::Limit)| Reason {
            origin: if plan_has(&spec) { Origin::Plan } else { Origin::Key },
            max_overshoot: if takes_slices { limit.max_overshoot() } else { 0 },
        };
        let reasons = entry.terms.specs.iter().zip(entry.terms.rate_limits()).map(reason).collect();
        let checked = self.peek(entry, request.requests).await?;
        Ok(Preview { checked, rejection, reasons })
    }

    /// Sets a key's counters back to zero on every node. The period's quota is what was billed and stays.
    pub async fn reset_limits(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<Checked, Error> {
        let entry = self.entry(tenant_id, id).await?;
        self.limiter().reset(entry.subject).await?;
        let now = self.clock().now();
        let period = BillingPeriod::containing(now);
        if entry.terms.quota_index().is_some() {
            let used = self.repository().usage().of_period(tenant_id, id, period.start).await?.allowed;
            let raise = entry.raise(crate::entry::timestamp(period.start), used);
            self.limiter().raise(raise.as_slice(), crate::entry::timestamp(now)).await?;
        }
        self.peek(entry, 1).await
    }

    /// The id of the key whose text is `secret`.
    pub async fn key_id(&self, tenant_id: TenantId, secret: &str) -> Result<ApiKeyId, Error> {
        Ok(self.lookup_key(tenant_id, secret).await?.key.id)
    }

    /// Changes the size of the key's first limit; with `expected`, only if that is the key's version. Counters are kept
    /// unless the window changes.
    pub async fn set_limit(
        &self,
        tenant_id: TenantId,
        id: ApiKeyId,
        size: NewSize,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        let changed = self.change_key(tenant_id, id, expected, None, |key, plan, _| {
            let of_plan = plan.map_or(&[][..], |plan| &plan.limits);
            let first = key.effective_limits(of_plan).into_iter().next();
            let first = first.ok_or_else(|| Error::Conflict("the key has no limit to change".into()))?;
            let limit = size.of(first)?;
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
        self.used_key(tenant_id, id).await?;
        let since: DateTime<Utc> = self.clock().now() - TimeDelta::hours(hours);
        let rows = self.repository().violations().list(tenant_id, id, since, before, limit).await?;
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let next = rows.last().filter(|_| full).map(ViolationCursor::from);
        Ok(Violations { rows, next })
    }
}

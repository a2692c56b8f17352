//! The size of a key's first limit.

use tollgate_domain::{ApiKeyId, Invalid, LimitSpec, TenantId};

use super::Keys;
use crate::{Error, keys::KeyDetail};

/// A limit's new size. `None` keeps the present value.
#[derive(Clone, Copy, Debug)]
pub struct NewSize {
    /// Units per window.
    pub limit: u64,
    /// The window in seconds.
    pub window: Option<u64>,
    /// The size of a token bucket.
    pub burst: Option<u64>,
}

impl NewSize {
    /// `spec` with this size. Errors name the members of the API.
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

impl Keys<'_> {
    /// Changes the size of the key's first limit; with `expected`, only if that is the key's version. Keeps the
    /// counters unless the window changes.
    pub async fn set_limit(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        size: NewSize,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        let changed = self.change(tenant_id, id, expected, None, |key, plan, _| {
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
}

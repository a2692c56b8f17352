//! Suspends, resumes, rotates and ends a key.

use chrono::TimeDelta;
use tollgate_domain::{
    ApiKey, ApiKeyId, Invalid, KeySecret, KeyStatus, Suspension, TenantId, api_key::StaysRevoked, text,
};

use super::{KEY, Keys};
use crate::{
    Error,
    keys::{KeyDetail, require_version},
};

/// Longest time for which a rotated secret keeps working, and longest suspension with an end.
const MAX_GRACE: TimeDelta = TimeDelta::days(30);
const MAX_SUSPENSION: TimeDelta = TimeDelta::days(3_660);

impl Keys<'_> {
    /// Suspends a key, for `seconds` or until it is resumed; with `expected`, only if that is its version.
    pub async fn suspend(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        seconds: Option<u64>,
        reason: Option<String>,
        expected: Option<i64>,
    ) -> Result<KeyDetail, Error> {
        let mut invalid = Invalid::none();
        let most = MAX_SUSPENSION.num_seconds().unsigned_abs();
        invalid.require(
            seconds.is_none_or(|s| (1..=most).contains(&s)),
            "/seconds",
            format!("null, or from 1 to {most}"),
        );
        invalid.require(text::DESCRIPTION.fit_any(reason.as_deref()), "/reason", text::DESCRIPTION);
        invalid.finish()?;
        let until = seconds.map(|s| self.0.clock().now() + TimeDelta::seconds(i64::try_from(s).unwrap_or(0)));
        let changed = self.change(tenant_id, id, expected, None, |key, _, _| {
            key.set_status(KeyStatus::Suspended, Some(Suspension { until, reason: reason.clone() })).map_err(conflict)
        });
        changed.await
    }

    /// Ends a suspension; with `expected`, only if that is the key's version.
    pub async fn resume(self, tenant_id: TenantId, id: ApiKeyId, expected: Option<i64>) -> Result<KeyDetail, Error> {
        let changed = self.change(tenant_id, id, expected, None, |key, _, _| {
            key.set_status(KeyStatus::Active, None).map_err(conflict)
        });
        changed.await
    }

    /// Makes a new secret for the same key; the old one works for `grace_seconds` more. With `expected`, only
    /// if that is the key's version.
    pub async fn rotate(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        grace_seconds: u64,
        expected: Option<i64>,
    ) -> Result<(KeyDetail, KeySecret), Error> {
        let most = MAX_GRACE.num_seconds().unsigned_abs();
        let grace = i64::try_from(grace_seconds).ok().filter(|_| grace_seconds <= most);
        let grace = grace.ok_or_else(|| Invalid::field("/grace_seconds", format!("from 0 to {most}")))?;
        let now = self.0.clock().now();
        let rotated = self.0.repository().keys().rotate(tenant_id, id, now, now + TimeDelta::seconds(grace), |key| {
            require_version(expected, key.version)?;
            if key.status == KeyStatus::Revoked {
                return Err(Error::Conflict("a revoked key cannot be rotated".into()));
            }
            Ok(KeySecret::generate(key.environment)?)
        });
        let (key, plan, secret) = rotated.await?.ok_or(Error::NotFound(KEY))?;
        self.0.cache().forget([id]);
        Ok((KeyDetail { key, plan }, secret))
    }

    /// Revokes a key at once and hides it; with `expected`, only if that is its version. Keeps its usage.
    pub async fn delete(self, tenant_id: TenantId, id: ApiKeyId, expected: Option<i64>) -> Result<(), Error> {
        let check = |key: &ApiKey| require_version(expected, key.version);
        let deleted = self.0.repository().keys().delete(tenant_id, id, self.0.clock().now(), check).await?;
        self.0.cache().forget([id]);
        deleted.then_some(()).ok_or(Error::NotFound(KEY))
    }
}

pub(super) fn conflict(revoked: StaysRevoked) -> Error {
    Error::Conflict(revoked.to_string())
}

//! One check, from key to journal: find the key, admit it, decide all limits and the quota, record the outcome.

use std::{pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, KeySecret, TenantId};
use tollgate_limiter::{Decision, Progress};

use super::{
    Checks,
    admission::admissible,
    find::{Held, Sender},
};
use crate::{
    CheckOutcome, CheckRequest, Error, KnownKey,
    check::{cache::Lookup, effective_limits::QUOTA, spend_cap::SPEND_CAP, subject::timestamp},
    metering::event::Refusal,
    ops::metrics::Outcome,
};

/// The part of a check that needs no waiting.
pub type Attempt<'a> = Progress<Result<CheckOutcome, Error>, Waiting<'a>>;

/// The rest of a check: it asks a store, or waits for the disk.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = Result<CheckOutcome, Error>> + Send + 'a>>;

impl<'a> Checks<'a> {
    /// Checks the key whose text is `secret`. A refusal is `Ok`.
    ///
    /// # Errors
    /// `InvalidCredential`, `KeyExpired` and the like when the key may not be used at all; `Unavailable` when a
    /// required store is down; `Invalid` for a bad request.
    pub fn validate(self, secret: &str, request: CheckRequest) -> Attempt<'a> {
        if let Err(invalid) = request.validate() {
            return Progress::Done(Err(invalid.into()));
        }
        let Some(hash) = KeySecret::hash_of(secret) else {
            self.0.metrics().checks.with_label_values(&["unknown_key", "checksum"]).inc();
            return Progress::Done(Err(Error::InvalidCredential));
        };
        let (lookup, now) = (Lookup::Secret(hash), self.0.clock().now());
        match self.held(lookup, now) {
            Held::Known(known_key) => self.decide(known_key, request, now),
            Held::Unknown => Progress::Done(Err(self.unknown_key())),
            Held::Miss => Progress::Waiting(Box::pin(async move {
                let known_key =
                    self.load(lookup, Sender::Stranger(request.ip)).await?.ok_or_else(|| self.unknown_key())?;
                self.decide(known_key, request, self.0.clock().now()).wait().await
            })),
        }
    }

    /// Checks a key by id, for a back end. `NotFound` when the tenant has no such key.
    pub async fn check(self, tenant_id: TenantId, id: ApiKeyId, request: CheckRequest) -> Result<CheckOutcome, Error> {
        request.validate()?;
        let known_key = self.known_key(tenant_id, id).await?;
        self.decide(known_key, request, self.0.clock().now()).wait().await
    }

    /// What a key's limits would answer to this many units. Consumes nothing and ignores the key's state.
    pub async fn peek(self, known_key: Arc<KnownKey>, requests: u32) -> Result<CheckOutcome, Error> {
        let at = self.0.clock().now();
        let check = known_key.counted.check(requests);
        let decision = self.0.limiter().peek(check.as_check(), timestamp(at)).await?;
        Ok(CheckOutcome { known_key, decision, at })
    }

    fn decide(self, known_key: Arc<KnownKey>, request: CheckRequest, now: DateTime<Utc>) -> Attempt<'a> {
        if let Err(error) = admissible(&known_key, &request, now) {
            self.0.metrics().checks.with_label_values(&["rejected", "exact"]).inc();
            self.0.metering().record_refusal(&known_key, &request, now, Refusal::Rejected, "");
            return Progress::Done(Err(error));
        }
        let begun = self.0.limiter().begin(&known_key.counted.check(request.requests).as_check(), timestamp(now));
        match begun {
            Progress::Done(decided) => self.conclude(known_key, decided, &request, now),
            Progress::Waiting(undecided) => Progress::Waiting(Box::pin(async move {
                let check = known_key.counted.check(request.requests);
                let decided = self.0.limiter().finish(check.as_check(), undecided, timestamp(now)).await;
                self.conclude(known_key, decided, &request, now).wait().await
            })),
        }
    }

    /// Records a decision and counts it.
    fn conclude(
        self,
        known_key: Arc<KnownKey>,
        decided: Result<Decision, tollgate_limiter::Error>,
        request: &CheckRequest,
        now: DateTime<Utc>,
    ) -> Attempt<'a> {
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => {
                self.0.metrics().checks.with_label_values(&["unavailable", "exact"]).inc();
                return Progress::Done(Err(error.into()));
            }
        };
        let checked = CheckOutcome { known_key, decision, at: now };
        let mut written = None;
        let outcome = if checked.allowed() {
            match self.0.metering().record_usage(&checked.known_key, request, now) {
                Ok(position) => written = position,
                Err(error) => return self.take_back(checked, request.requests, error),
            }
            Outcome::Allowed
        } else if checked.quota_exceeded() {
            let limit = if checked.spend_cap_reached() { SPEND_CAP } else { QUOTA };
            self.0.metering().record_refusal(&checked.known_key, request, now, Refusal::QuotaExceeded, limit);
            Outcome::QuotaExceeded
        } else {
            let limit = checked.violated().next().unwrap_or_default();
            self.0.metering().record_refusal(&checked.known_key, request, now, Refusal::RateLimited, limit);
            Outcome::RateLimited
        };
        self.0.metrics().hot.count(outcome, checked.decision.source);
        match written.filter(|_| self.0.waits_for_disk()) {
            None => Progress::Done(Ok(checked)),
            Some(position) => {
                let requests = request.requests;
                Progress::Waiting(Box::pin(async move {
                    match self.0.metering().durable(position).await {
                        Ok(()) => Ok(checked),
                        Err(error) => self.take_back(checked, requests, error).wait().await,
                    }
                }))
            }
        }
    }

    /// Gives back to the limits and the quota what a check consumed that cannot be answered, and then answers `error`.
    /// It runs in a task of its own, because the caller may go away. A record that was written and not synced stays: if
    /// it survives, it is billed, like an answer that was cut off, and the quota's counter follows the bill.
    fn take_back(self, checked: CheckOutcome, requests: u32, error: Error) -> Attempt<'a> {
        let service = self.0.clone();
        let given_back = self.0.spawn(async move {
            let (check, now) = (checked.known_key.counted.check(requests), timestamp(service.clock().now()));
            if let Err(error) = service.limiter().undo(check.as_check(), &checked.decision, now).await {
                tracing::warn!(%error, requests, "cannot give back what an unanswered check consumed");
            }
        });
        Progress::Waiting(Box::pin(async move {
            // A join error means a panic, which is already logged.
            let _ = given_back.await;
            Err(error)
        }))
    }
}

//! One check, from key to journal: who is it, may it be used, do all limits and the quota admit it, is it recorded.

use std::{pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, KeySecret, TenantId};
use tollgate_limiter::{Begun, Decision};

use super::{
    Checks,
    admission::admissible,
    find::{Held, Sender},
};
use crate::{
    CheckOutcome, CheckRequest, Error, KnownKey,
    check::{cache::Lookup, subject::timestamp},
    metering::event::Refusal,
    ops::metrics::Outcome,
};

/// A check as far as it goes without waiting. Most are answered from this node's memory, and then no future is made: moving
/// one about costs as much as the decision.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the one of nearly every check: to box it would be to allocate"
)]
pub enum Attempt<'a> {
    /// Decided and written down.
    Answered(Result<CheckOutcome, Error>),
    /// A store has to be asked, or the disk waited for.
    Waiting(Waiting<'a>),
}

/// The rest of a check.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = Result<CheckOutcome, Error>> + Send + 'a>>;

impl Attempt<'_> {
    /// The answer, waited for if need be.
    ///
    /// # Errors
    /// As [`Service::validate`].
    pub async fn answer(self) -> Result<CheckOutcome, Error> {
        match self {
            Self::Answered(answer) => answer,
            Self::Waiting(rest) => rest.await,
        }
    }
}

impl<'a> Checks<'a> {
    /// Checks the key whose text is `secret`. A refusal is `Ok`.
    ///
    /// # Errors
    /// `InvalidCredential`, `KeyExpired` and the like when the key may not be used at all; `Unavailable` when a store that is
    /// needed is away; `Invalid` for a bad request.
    pub fn validate(self, secret: &str, request: CheckRequest) -> Attempt<'a> {
        if let Err(invalid) = request.validate() {
            return Attempt::Answered(Err(invalid.into()));
        }
        let Some(hash) = KeySecret::hash_of(secret) else {
            self.0.metrics().checks.with_label_values(&["unknown_key", "checksum"]).inc();
            return Attempt::Answered(Err(Error::InvalidCredential));
        };
        let (lookup, now) = (Lookup::Secret(hash), self.0.clock().now());
        match self.held(lookup, now) {
            Held::Known(known_key) => self.decide(known_key, request, now),
            Held::Unknown => Attempt::Answered(Err(self.unknown_key())),
            Held::Miss => Attempt::Waiting(Box::pin(async move {
                let known_key =
                    self.load(lookup, Sender::Stranger(request.ip)).await?.ok_or_else(|| self.unknown_key())?;
                self.decide(known_key, request, self.0.clock().now()).answer().await
            })),
        }
    }

    /// Checks a key by id, for a back end. `NotFound` when the tenant has no such key.
    pub async fn check(self, tenant_id: TenantId, id: ApiKeyId, request: CheckRequest) -> Result<CheckOutcome, Error> {
        request.validate()?;
        let known_key = self.known_key(tenant_id, id).await?;
        self.decide(known_key, request, self.0.clock().now()).answer().await
    }

    /// What a key's limits would answer to so many units; consumes nothing and asks nothing of the key's state.
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
            return Attempt::Answered(Err(error));
        }
        let begun = self.0.limiter().begin(&known_key.counted.check(request.requests).as_check(), timestamp(now));
        match begun {
            Begun::Decided(decided) => self.conclude(known_key, decided, &request, now),
            Begun::Undecided(undecided) => Attempt::Waiting(Box::pin(async move {
                let check = known_key.counted.check(request.requests);
                let decided = self.0.limiter().finish(check.as_check(), undecided, timestamp(now)).await;
                self.conclude(known_key, decided, &request, now).answer().await
            })),
        }
    }

    /// Writes a decision down and counts it.
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
                return Attempt::Answered(Err(error.into()));
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
            self.0.metering().record_refusal(
                &checked.known_key,
                request,
                now,
                Refusal::QuotaExceeded,
                crate::check::effective_limits::QUOTA,
            );
            Outcome::QuotaExceeded
        } else {
            let limit = checked.violated().next().unwrap_or_default();
            self.0.metering().record_refusal(&checked.known_key, request, now, Refusal::RateLimited, limit);
            Outcome::RateLimited
        };
        self.0.metrics().hot.count(outcome, checked.decision.source);
        match written.filter(|_| self.0.waits_for_disk()) {
            None => Attempt::Answered(Ok(checked)),
            Some(position) => {
                let requests = request.requests;
                Attempt::Waiting(Box::pin(async move {
                    match self.0.metering().durable(position).await {
                        Ok(()) => Ok(checked),
                        Err(error) => self.take_back(checked, requests, error).answer().await,
                    }
                }))
            }
        }
    }

    /// Gives the limits and the quota back what a check took that cannot be answered, and then answers `error`. A task of its
    /// own does it, because the caller may go away. A record that is written and not synced stays: should it survive, it is
    /// billed, as an answer that was cut off is, and the quota's counter follows the bill.
    fn take_back(self, checked: CheckOutcome, requests: u32, error: Error) -> Attempt<'a> {
        let service = self.0.clone();
        let given_back = self.0.spawn(async move {
            let (check, now) = (checked.known_key.counted.check(requests), timestamp(service.clock().now()));
            if let Err(error) = service.limiter().undo(check.as_check(), &checked.decision, now).await {
                tracing::warn!(%error, requests, "what a check took without an answer could not be given back");
            }
        });
        Attempt::Waiting(Box::pin(async move {
            // It ends in an error only if it panicked, which is logged.
            let _ = given_back.await;
            Err(error)
        }))
    }
}

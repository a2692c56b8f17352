//! One check, from key to journal: who is it, may it be used, do all limits and the quota admit it, is it written down.

use std::{net::IpAddr, pin::Pin, sync::Arc};

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Country, Invalid, KeySecret, KeyStatus, Network, SecretHash, TenantId, text,
};
use tollgate_journal::Position;
use tollgate_limiter::{Begun, Decision};
use tollgate_repository::KeyAndPlan;

use crate::{
    Checked, Entry, Error, Service,
    cache::{Cached, Lookup},
    entry::timestamp,
    event::{Event, MAX_RECORD, Refusal},
    metrics::Outcome,
    refusals::Refused,
};

/// Most units one check may ask for.
pub const MAX_REQUESTS: u32 = 1_000_000;

/// What a caller wants to do.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// Units; 0 looks without consuming.
    pub requests: u32,
    /// What is called, as the client names it; see [`text::ENDPOINT`].
    pub endpoint: Option<String>,
    /// With which method.
    pub method: Option<String>,
    /// From which address.
    pub ip: Option<IpAddr>,
    /// With which software.
    pub user_agent: Option<String>,
    /// From which country; None: unknown.
    pub country: Option<Country>,
}

/// A check as far as it goes without waiting. Most are answered from this node's memory, and then no future is made: moving
/// one about costs as much as the decision.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the one of nearly every check: to box it would be to allocate"
)]
pub enum Attempt<'a> {
    /// Decided and written down.
    Answered(Result<Checked, Error>),
    /// A store has to be asked, or the disk waited for.
    Waiting(Waiting<'a>),
}

/// The rest of a check.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Checked, Error>> + Send + 'a>>;

impl Attempt<'_> {
    /// The answer, waited for if need be.
    ///
    /// # Errors
    /// As [`Service::validate`].
    pub async fn answer(self) -> Result<Checked, Error> {
        match self {
            Self::Answered(answer) => answer,
            Self::Waiting(rest) => rest.await,
        }
    }
}

impl CheckRequest {
    /// Names every wrong member.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::none();
        invalid.require(self.requests <= MAX_REQUESTS, "/requests", format_args!("from 0 to {MAX_REQUESTS}"));
        let texts = [
            ("/endpoint", &self.endpoint, text::ENDPOINT),
            ("/method", &self.method, text::METHOD),
            ("/user_agent", &self.user_agent, text::USER_AGENT),
        ];
        for (pointer, text, bounds) in texts {
            invalid.require(bounds.fit_any(text.as_deref()), pointer, bounds);
        }
        invalid.finish()
    }
}

/// Who has a look-up made.
#[derive(Clone, Copy)]
enum Sender {
    /// A caller we know, or we ourselves.
    Known,
    /// Anybody, from this address, with a secret that may be made up.
    Stranger(Option<IpAddr>),
}

/// What this node has of a key.
enum Held {
    Known(Arc<Entry>),
    Unknown,
    Miss,
}

impl Service {
    /// Checks the key whose text is `secret`. A refusal is `Ok`.
    ///
    /// # Errors
    /// `InvalidCredential`, `KeyExpired` and the like when the key may not be used at all; `Unavailable` when a store that is
    /// needed is away; `Invalid` for a bad request.
    pub fn validate(&self, secret: &str, request: CheckRequest) -> Attempt<'_> {
        if let Err(invalid) = request.validate() {
            return Attempt::Answered(Err(invalid.into()));
        }
        let Some(hash) = KeySecret::hash_of(secret) else {
            self.metrics().checks.with_label_values(&["unknown_key", "checksum"]).inc();
            return Attempt::Answered(Err(Error::InvalidCredential));
        };
        let (lookup, now) = (Lookup::Secret(hash), self.clock().now());
        match self.held(lookup, now) {
            Held::Known(entry) => self.decide(entry, request, now),
            Held::Unknown => Attempt::Answered(Err(self.unknown_key())),
            Held::Miss => Attempt::Waiting(Box::pin(async move {
                let entry = self.load(lookup, Sender::Stranger(request.ip)).await?.ok_or_else(|| self.unknown_key())?;
                self.decide(entry, request, self.clock().now()).answer().await
            })),
        }
    }

    /// Checks a key by id, for a back end. `NotFound` when the tenant has no such key.
    pub async fn check(&self, tenant_id: TenantId, id: ApiKeyId, request: CheckRequest) -> Result<Checked, Error> {
        request.validate()?;
        let entry = self.entry(tenant_id, id).await?;
        self.decide(entry, request, self.clock().now()).answer().await
    }

    /// What a key's limits would answer to so many units; consumes nothing and asks nothing of the key's state.
    pub async fn peek(&self, entry: Arc<Entry>, requests: u32) -> Result<Checked, Error> {
        let at = self.clock().now();
        let check = entry.check(requests);
        let decision = self.limiter().peek(check.as_check(), timestamp(at)).await?;
        Ok(Checked { entry, decision, at })
    }

    fn decide(&self, entry: Arc<Entry>, request: CheckRequest, now: DateTime<Utc>) -> Attempt<'_> {
        if let Err(error) = admissible(&entry, &request, now) {
            self.metrics().checks.with_label_values(&["rejected", "exact"]).inc();
            self.refuse(&entry, &request, now, Refusal::Rejected, "");
            return Attempt::Answered(Err(error));
        }
        let begun = self.limiter().begin(&entry.check(request.requests).as_check(), timestamp(now));
        match begun {
            Begun::Decided(decided) => self.conclude(entry, decided, &request, now),
            Begun::Undecided(undecided) => Attempt::Waiting(Box::pin(async move {
                let check = entry.check(request.requests);
                let decided = self.limiter().finish(check.as_check(), undecided, timestamp(now)).await;
                self.conclude(entry, decided, &request, now).answer().await
            })),
        }
    }

    /// Writes a decision down and counts it.
    fn conclude(
        &self,
        entry: Arc<Entry>,
        decided: Result<Decision, tollgate_limiter::Error>,
        request: &CheckRequest,
        now: DateTime<Utc>,
    ) -> Attempt<'_> {
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => {
                self.metrics().checks.with_label_values(&["unavailable", "exact"]).inc();
                return Attempt::Answered(Err(error.into()));
            }
        };
        let checked = Checked { entry, decision, at: now };
        let mut written = None;
        let outcome = if checked.allowed() {
            match self.write_down(&checked.entry, request, now) {
                Ok(position) => written = position,
                Err(error) => return self.take_back(checked, request.requests, error),
            }
            Outcome::Allowed
        } else if checked.quota_exceeded() {
            self.refuse(&checked.entry, request, now, Refusal::QuotaExceeded, crate::terms::QUOTA);
            Outcome::QuotaExceeded
        } else {
            let limit = checked.violated().next().unwrap_or_default();
            self.refuse(&checked.entry, request, now, Refusal::RateLimited, limit);
            Outcome::RateLimited
        };
        self.metrics().hot.count(outcome, checked.decision.source);
        match written.filter(|_| self.waits_for_disk()) {
            None => Attempt::Answered(Ok(checked)),
            Some(position) => {
                let requests = request.requests;
                Attempt::Waiting(Box::pin(async move {
                    match self.durable(position).await {
                        Ok(()) => Ok(checked),
                        Err(error) => self.take_back(checked, requests, error).answer().await,
                    }
                }))
            }
        }
    }

    async fn durable(&self, position: Position) -> Result<(), Error> {
        let synced = self.journal()?.durable(position).await;
        Ok(synced.inspect_err(|_| self.metrics().journal_errors.inc())?)
    }

    /// Gives the limits and the quota back what a check took that cannot be answered, and then answers `error`. A task of its
    /// own does it, because the caller may go away. A record that is written and not synced stays: should it survive, it is
    /// billed, as an answer that was cut off is, and the quota's counter follows the bill.
    fn take_back(&self, checked: Checked, requests: u32, error: Error) -> Attempt<'_> {
        let service = self.clone();
        let given_back = self.spawn(async move {
            let (check, now) = (checked.entry.check(requests), timestamp(service.clock().now()));
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

    /// The record is in the kernel's hands when this returns: the answer may leave. None when there is nothing to bill.
    fn write_down(&self, entry: &Entry, request: &CheckRequest, now: DateTime<Utc>) -> Result<Option<Position>, Error> {
        if request.requests == 0 {
            return Ok(None);
        }
        let event = Event::Admitted {
            tenant_id: entry.key.tenant_id,
            api_key_id: entry.key.id,
            at: now,
            units: request.requests,
            endpoint: request.endpoint.as_deref().unwrap_or_default(),
        };
        let mut buffer = [0; MAX_RECORD];
        let record = event.encode(&mut buffer).ok_or_else(|| Error::Internal("a record is too long".into()))?;
        let written = self.journal()?.append(record).inspect_err(|_| self.metrics().journal_errors.inc())?;
        self.metrics().units.inc_by(u64::from(request.requests));
        Ok(Some(written))
    }

    fn refuse(&self, entry: &Entry, request: &CheckRequest, now: DateTime<Utc>, refusal: Refusal, limit_name: &str) {
        self.refusals().add(&Refused {
            tenant_id: entry.key.tenant_id,
            api_key_id: entry.key.id,
            at: now,
            units: request.requests,
            refusal,
            limit_name,
            endpoint: request.endpoint.as_deref().unwrap_or_default(),
            ip: request.ip,
        });
    }

    /// The key behind a secret's hash, from memory where possible; `from` is the client's address.
    pub(crate) async fn entry_by_secret(&self, hash: SecretHash, from: Option<IpAddr>) -> Result<Arc<Entry>, Error> {
        let found = self.cached(Lookup::Secret(hash), Sender::Stranger(from)).await?;
        found.ok_or_else(|| self.unknown_key())
    }

    fn unknown_key(&self) -> Error {
        self.metrics().checks.with_label_values(&["unknown_key", "exact"]).inc();
        Error::InvalidCredential
    }

    /// A tenant's key by id, from memory where possible. `NotFound` when there is none.
    pub async fn entry(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<Arc<Entry>, Error> {
        self.cached(Lookup::Id(tenant_id, id), Sender::Known).await?.ok_or(Error::NotFound("API key"))
    }

    /// Of these keys those that are there, from memory where possible, the others together. In no order.
    pub(crate) async fn entries(&self, keys: &[(TenantId, ApiKeyId)]) -> Result<Vec<Arc<Entry>>, Error> {
        let (mut entries, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        for (tenant_id, id) in keys {
            match self.cache().held(*tenant_id, *id) {
                Some(entry) => entries.push(entry),
                None => missing.push((*tenant_id, *id)),
            }
        }
        let (now, generation) = (self.clock().now(), self.cache().generation());
        for found in self.repository().keys().many_with_plans(&missing, now).await? {
            let entry = Arc::new(self.entry_of(found, now)?);
            self.cache().insert(entry.clone(), now.timestamp_micros(), generation);
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry_of(&self, found: KeyAndPlan, now: DateTime<Utc>) -> Result<Entry, Error> {
        let period = BillingPeriod::containing(now);
        let entry = Entry::new(found, self.common_terms(), self.hash_key(), period);
        entry.map_err(|error| Error::Internal(error.to_string()))
    }

    async fn cached(&self, lookup: Lookup, sender: Sender) -> Result<Option<Arc<Entry>>, Error> {
        match self.held(lookup, self.clock().now()) {
            Held::Known(entry) => Ok(Some(entry)),
            Held::Unknown => Ok(None),
            Held::Miss => self.load(lookup, sender).await,
        }
    }

    /// What this node has in memory. What is old is read anew beside.
    fn held(&self, lookup: Lookup, now: DateTime<Utc>) -> Held {
        let hits = &self.metrics().cache_hits;
        match self.cache().get(&lookup, now.timestamp_micros()) {
            Cached::Fresh(entry) => {
                hits.hit.inc();
                Held::Known(entry)
            }
            Cached::Stale(entry) => {
                hits.stale.inc();
                let service = self.clone();
                self.spawn(async move {
                    if let Err(error) = service.load(lookup, Sender::Known).await {
                        tracing::debug!(%error, "a held key could not be read anew");
                    }
                });
                Held::Known(entry)
            }
            Cached::Unknown => {
                hits.unknown.inc();
                Held::Unknown
            }
            Cached::Miss => {
                hits.miss.inc();
                Held::Miss
            }
        }
    }

    async fn load(&self, lookup: Lookup, sender: Sender) -> Result<Option<Arc<Entry>>, Error> {
        let now = self.clock().now();
        let look_up = async {
            if let (Lookup::Secret(hash), Sender::Stranger(from)) = (&lookup, sender)
                && !self.secret_exists(*hash, from).await?
            {
                return Ok(None);
            }
            let found = match &lookup {
                Lookup::Secret(hash) => self.repository().keys().by_secret(hash, now).await?,
                Lookup::Id(tenant_id, id) => self.repository().keys().with_plan(*tenant_id, *id, now).await?,
            };
            found.map(|found| self.entry_of(found, now)).transpose()
        };
        self.cache().load(lookup, now.timestamp_micros(), look_up).await
    }
}

/// Whether the key may be used at all, from where the caller is.
pub(crate) fn admissible(entry: &Entry, request: &CheckRequest, now: DateTime<Utc>) -> Result<(), Error> {
    admissible_from(entry, request.ip, now)?;
    let allowed = &entry.key.allowed_countries;
    if !allowed.is_empty() && !request.country.is_some_and(|country| allowed.contains(&country)) {
        return Err(Error::CountryNotAllowed);
    }
    Ok(())
}

/// Whether the key may be used from `ip`, without regard to the country.
pub(crate) fn admissible_from(entry: &Entry, ip: Option<IpAddr>, now: DateTime<Utc>) -> Result<(), Error> {
    if entry.secret_ends.is_some_and(|ends| ends <= now.timestamp_micros()) {
        return Err(Error::InvalidCredential);
    }
    let key = &entry.key;
    match key.status_at(now) {
        KeyStatus::Active => {}
        KeyStatus::Expired => return Err(Error::KeyExpired),
        KeyStatus::Revoked => return Err(Error::KeyRevoked),
        KeyStatus::Suspended => {
            let until = key.validity.suspended_until;
            return Err(Error::KeySuspended { retry_after: until.and_then(|at| (at - now).to_std().ok()) });
        }
    }
    if !key.allowed_ips.is_empty() && !ip.is_some_and(|ip| Network::any_contains(&key.allowed_ips, ip)) {
        return Err(Error::IpNotAllowed);
    }
    Ok(())
}

//! One check, from key to journal: who is it, may it be used, do all limits and the quota admit it, is it written down.

use std::{net::IpAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, BillingPeriod, Invalid, KeySecret, KeyStatus, SecretHash, TenantId};
use tollgate_journal::Position;
use tollgate_limiter::{Decision, LimitStatus, Mode};

use crate::{
    Entry, Error, Service,
    cache::{Cached, Lookup},
    event::{Event, MAX_ENDPOINT, MAX_RECORD, Refusal},
    metrics::Outcome,
    network,
    refusals::Refused,
};

/// Most units one check may ask for.
pub const MAX_REQUESTS: u32 = 1_000_000;

/// What a caller wants to do.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// Units; 0 looks without consuming.
    pub requests: u32,
    /// What is called, as the client names it; at most 256 bytes.
    pub endpoint: Option<String>,
    /// With which method.
    pub method: Option<String>,
    /// From which address.
    pub ip: Option<IpAddr>,
    /// With which software.
    pub user_agent: Option<String>,
    /// From which country, ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

/// A decided check.
pub struct Checked {
    /// Whose.
    pub entry: Arc<Entry>,
    /// What was decided.
    pub decision: Decision,
}

impl CheckRequest {
    /// Names every wrong member.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::none();
        invalid.require(self.requests <= MAX_REQUESTS, "/requests", format!("from 0 to {MAX_REQUESTS}"));
        let texts = [
            ("/endpoint", &self.endpoint, MAX_ENDPOINT),
            ("/method", &self.method, 32),
            ("/user_agent", &self.user_agent, 1_024),
        ];
        for (pointer, text, most) in texts {
            let fits = text.as_ref().is_none_or(|t| t.len() <= most && !t.chars().any(char::is_control));
            invalid.require(fits, pointer, format!("at most {most} bytes and no control characters"));
        }
        let code = self.country.as_ref().is_none_or(|c| c.len() == 2 && c.bytes().all(|b| b.is_ascii_alphabetic()));
        invalid.require(code, "/country", "two letters (ISO 3166-1 alpha-2)");
        invalid.finish()
    }
}

impl Checked {
    /// Whether the request may go ahead.
    pub fn allowed(&self) -> bool {
        self.decision.allowed
    }

    /// The rate limits, without the quota, each with its specification's index.
    pub fn rate_limits(&self) -> impl Iterator<Item = (&tollgate_domain::LimitSpec, &LimitStatus)> {
        let quota = self.entry.quota_index();
        let statuses = self.decision.limits.iter().enumerate().filter(move |(index, _)| Some(*index) != quota);
        self.entry.specs.iter().zip(statuses.map(|(_, status)| status))
    }

    /// Where the quota stands, if the plan has one.
    pub fn quota(&self) -> Option<&LimitStatus> {
        self.decision.limits.get(self.entry.quota_index()?)
    }

    /// The limit that stands for the whole answer: the one that refused longest, else the one with the least left. A quota
    /// whose overage is billed never is.
    pub fn most_constrained(&self) -> Option<(&str, &LimitStatus)> {
        let statuses = self.decision.limits.iter().zip(self.entry.limits());
        let enforced = statuses.filter(|(_, limit)| limit.mode() == Mode::Enforce);
        let rank = |status: &LimitStatus| (status.is_allowed(), std::cmp::Reverse(wait(status)), status.remaining());
        enforced.min_by_key(|(status, _)| rank(status)).map(|(status, limit)| (limit.name(), status))
    }

    /// Names of the limits that refused.
    pub fn violated(&self) -> impl Iterator<Item = &str> {
        let statuses = self.decision.limits.iter().zip(self.entry.limits());
        statuses.filter(|(status, _)| !status.is_allowed()).map(|(_, limit)| limit.name())
    }

    /// Whether the period's quota, and no rate limit, refused.
    pub fn quota_exceeded(&self) -> bool {
        !self.allowed() && self.rate_limits().all(|(_, status)| status.is_allowed())
    }

    /// How long to wait, in whole seconds, at least 1 on a refusal and 0 otherwise. A request larger than a limit fits never;
    /// it is told to wait for that limit's whole window.
    pub fn retry_after_seconds(&self) -> u64 {
        if self.allowed() {
            return 0;
        }
        let never = || self.most_constrained().map(|(_, status)| status.reset_after());
        whole_seconds(self.decision.retry_after().or_else(never).unwrap_or_default()).max(1)
    }
}

/// Seconds, rounded up: a client that waits so long does not come too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn wait(status: &LimitStatus) -> i64 {
    match status.retry() {
        Some(tollgate_limiter::Retry::At(at)) => at.as_micros(),
        Some(tollgate_limiter::Retry::Never) => i64::MAX,
        None => i64::MIN,
    }
}

impl Service {
    /// Checks the key whose text is `secret`. A refusal is `Ok`.
    ///
    /// # Errors
    /// `InvalidCredential`, `KeyExpired` and the like when the key may not be used at all; `Unavailable` when a store that is
    /// needed is away; `Invalid` for a bad request.
    pub async fn validate(&self, secret: &str, request: &CheckRequest) -> Result<Checked, Error> {
        request.validate()?;
        let Some(hash) = KeySecret::hash_of(secret) else {
            self.metrics().checks.with_label_values(&["unknown_key", "checksum"]).inc();
            return Err(Error::InvalidCredential);
        };
        let entry = self.entry_by_secret(hash).await?;
        self.decide(entry, request).await
    }

    /// Checks a key by id, for a back end. `NotFound` when the tenant has no such key.
    pub async fn check(&self, tenant_id: TenantId, id: ApiKeyId, request: &CheckRequest) -> Result<Checked, Error> {
        request.validate()?;
        let entry = self.entry(tenant_id, id).await?;
        self.decide(entry, request).await
    }

    /// Where a key's limits stand; consumes nothing and asks nothing of its state.
    pub async fn look(&self, entry: Arc<Entry>) -> Result<Checked, Error> {
        let decision = self.ask_limiter(&entry, 0).await?;
        Ok(Checked { entry, decision })
    }

    async fn decide(&self, entry: Arc<Entry>, request: &CheckRequest) -> Result<Checked, Error> {
        let now = self.clock().now();
        if let Err(error) = admissible(&entry, request, now) {
            self.metrics().checks.with_label_values(&["rejected", "exact"]).inc();
            self.refuse(&entry, request, now, Refusal::Rejected, "");
            return Err(error);
        }
        let decision = match self.ask_limiter(&entry, request.requests).await {
            Ok(decision) => decision,
            Err(error) => {
                self.metrics().checks.with_label_values(&["unavailable", "exact"]).inc();
                return Err(error);
            }
        };
        let checked = Checked { entry, decision };
        let outcome = if checked.allowed() {
            self.write_down(&checked.entry, request, now).await?;
            Outcome::Allowed
        } else if checked.quota_exceeded() {
            self.refuse(&checked.entry, request, now, Refusal::QuotaExceeded, crate::entry::QUOTA);
            Outcome::QuotaExceeded
        } else {
            let limit = checked.violated().next().unwrap_or_default();
            self.refuse(&checked.entry, request, now, Refusal::RateLimited, limit);
            Outcome::RateLimited
        };
        self.metrics().hot.count(outcome, checked.decision.source);
        Ok(checked)
    }

    async fn ask_limiter(&self, entry: &Entry, cost: u32) -> Result<Decision, Error> {
        let now = tollgate_limiter::Timestamp::from_micros(self.clock().micros());
        let check = entry.check(cost);
        if let Some(decided) = self.limiter().check_now(&check.as_check(), now) {
            return Ok(decided?);
        }
        Ok(self.limiter().check(check.as_check(), now).await?)
    }

    /// The record is in the kernel's hands when this returns: the answer may leave.
    async fn write_down(&self, entry: &Entry, request: &CheckRequest, now: DateTime<Utc>) -> Result<(), Error> {
        if request.requests == 0 {
            return Ok(());
        }
        let written = self.append(entry, request, now)?;
        if self.waits_for_disk() {
            self.journal()?.durable(written).await?;
        }
        Ok(())
    }

    /// Not part of the future above: a future is moved, and this buffer with it.
    fn append(&self, entry: &Entry, request: &CheckRequest, now: DateTime<Utc>) -> Result<Position, Error> {
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
        Ok(written)
    }

    fn refuse(&self, entry: &Entry, request: &CheckRequest, now: DateTime<Utc>, refusal: Refusal, limit_name: &str) {
        self.refusals().add(&Refused {
            tenant_id: entry.key.tenant_id,
            api_key_id: entry.key.id,
            at: now,
            refusal,
            limit_name,
            endpoint: request.endpoint.as_deref().unwrap_or_default(),
            ip: request.ip,
        });
    }

    /// The key behind a secret's hash, from memory where possible.
    pub(crate) async fn entry_by_secret(&self, hash: SecretHash) -> Result<Arc<Entry>, Error> {
        let found = self.cached(Lookup::Secret(hash)).await?;
        found.ok_or_else(|| {
            self.metrics().checks.with_label_values(&["unknown_key", "exact"]).inc();
            Error::InvalidCredential
        })
    }

    /// A tenant's key by id, from memory where possible. `NotFound` when there is none.
    pub async fn entry(&self, tenant_id: TenantId, id: ApiKeyId) -> Result<Arc<Entry>, Error> {
        self.cached(Lookup::Id(tenant_id, id)).await?.ok_or(Error::NotFound("API key"))
    }

    async fn cached(&self, lookup: Lookup) -> Result<Option<Arc<Entry>>, Error> {
        let now = self.clock().micros();
        let hits = &self.metrics().cache_hits;
        match self.cache().get(&lookup, now) {
            Cached::Fresh(entry) => {
                hits.hit.inc();
                Ok(Some(entry))
            }
            Cached::Stale(entry) => {
                hits.stale.inc();
                let service = self.clone();
                self.spawn(async move {
                    if let Err(error) = service.load(lookup).await {
                        tracing::debug!(%error, "a held key could not be read anew");
                    }
                });
                Ok(Some(entry))
            }
            Cached::Unknown => {
                hits.unknown.inc();
                Ok(None)
            }
            Cached::Miss => {
                hits.miss.inc();
                // Boxed because it is rare and large: every check's future would have room for it.
                Box::pin(self.load(lookup)).await
            }
        }
    }

    async fn load(&self, lookup: Lookup) -> Result<Option<Arc<Entry>>, Error> {
        let now = self.clock().now();
        let look_up = async {
            let found = match &lookup {
                Lookup::Secret(hash) => self.repository().find_by_secret(hash, now).await?,
                Lookup::Id(tenant_id, id) => self.repository().key_and_plan(*tenant_id, *id, now).await?,
            };
            let entry = |found| Entry::new(found, self.hash_key(), BillingPeriod::containing(now));
            found.map(entry).transpose().map_err(|error| Error::Internal(error.to_string()))
        };
        self.cache().load(lookup, now.timestamp_micros(), look_up).await
    }
}

/// Whether the key may be used at all, from where the caller is.
pub(crate) fn admissible(entry: &Entry, request: &CheckRequest, now: DateTime<Utc>) -> Result<(), Error> {
    admissible_from(entry, request.ip, now)?;
    let allowed = &entry.key.allowed_countries;
    let listed = |country: &String| allowed.iter().any(|c| c.eq_ignore_ascii_case(country));
    if !allowed.is_empty() && !request.country.as_ref().is_some_and(listed) {
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
            let until = key.suspension.as_ref().and_then(|s| s.until);
            return Err(Error::KeySuspended { retry_after: until.and_then(|at| (at - now).to_std().ok()) });
        }
    }
    if !key.allowed_ips.is_empty() && !ip.is_some_and(|ip| network::contains(&key.allowed_ips, ip)) {
        return Err(Error::IpNotAllowed);
    }
    Ok(())
}

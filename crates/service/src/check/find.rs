//! Finds the key behind a credential or an id, in memory if possible.

use std::{net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, BillingPeriod, SecretHash, TenantId};
use tollgate_repository::KeyAndPlan;

use super::Checks;
use crate::{
    Error, KnownKey,
    check::cache::{Cached, Lookup},
};

/// The kind of caller for whom a key is looked up.
#[derive(Clone, Copy)]
pub(super) enum Sender {
    /// A known caller, or the service itself.
    Known,
    /// An unknown client at this address, whose secret may be invented.
    Stranger(Option<IpAddr>),
}

/// What this node knows of a key.
pub(super) enum Held {
    Known(Arc<KnownKey>),
    Unknown,
    Miss,
}

impl Checks<'_> {
    /// The key behind a secret's hash, from memory if possible; `from` is the client's address.
    pub(crate) async fn by_secret(self, hash: SecretHash, from: Option<IpAddr>) -> Result<Arc<KnownKey>, Error> {
        let found = self.cached(Lookup::Secret(hash), Sender::Stranger(from)).await?;
        found.ok_or_else(|| self.unknown_key())
    }

    pub(super) fn unknown_key(self) -> Error {
        self.0.metrics().checks.with_label_values(&["unknown_key", "exact"]).inc();
        Error::InvalidCredential
    }

    /// A tenant's key by id, from memory if possible. `NotFound` when it does not exist.
    pub async fn known_key(self, tenant_id: TenantId, id: ApiKeyId) -> Result<Arc<KnownKey>, Error> {
        self.cached(Lookup::Id(tenant_id, id), Sender::Known).await?.ok_or(Error::NotFound("API key"))
    }

    /// Those of these keys that exist: from memory if possible, the others in one query. In no particular order.
    pub(crate) async fn known_keys(self, keys: &[(TenantId, ApiKeyId)]) -> Result<Vec<Arc<KnownKey>>, Error> {
        let (mut found_keys, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        let now = self.0.clock().now();
        for (tenant_id, id) in keys {
            match self.0.cache().held(*tenant_id, *id, now.timestamp_micros()) {
                Some(known_key) => found_keys.push(known_key),
                None => missing.push((*tenant_id, *id)),
            }
        }
        let generation = self.0.cache().generation();
        for found in self.0.repository().keys().many_with_plans(&missing, now).await? {
            let known_key = Arc::new(self.known_key_of(found, now).await?);
            self.0.cache().insert(known_key.clone(), now.timestamp_micros(), generation);
            found_keys.push(known_key);
        }
        Ok(found_keys)
    }

    pub(super) async fn known_key_of(self, found: KeyAndPlan, now: DateTime<Utc>) -> Result<KnownKey, Error> {
        let period = BillingPeriod::containing(now);
        // Boxed because few keys have one: every look-up's future would have room for it.
        let cap = Box::pin(self.spend_cap(&found, now)).await?;
        let known_key = KnownKey::new(found, cap, self.0.limits_pool(), self.0.hash_key(), period);
        known_key.map_err(|error| Error::Internal(error.to_string()))
    }

    pub(super) async fn cached(self, lookup: Lookup, sender: Sender) -> Result<Option<Arc<KnownKey>>, Error> {
        match self.held(lookup, self.0.clock().now()) {
            Held::Known(known_key) => Ok(Some(known_key)),
            Held::Unknown => Ok(None),
            Held::Miss => self.load(lookup, sender).await,
        }
    }

    /// What this node has in memory. Reads an old entry again in the background.
    pub(super) fn held(self, lookup: Lookup, now: DateTime<Utc>) -> Held {
        let hits = &self.0.metrics().cache_hits;
        match self.0.cache().get(&lookup, now.timestamp_micros()) {
            Cached::Fresh(known_key) => {
                hits.hit.inc();
                Held::Known(known_key)
            }
            Cached::Stale(known_key) => {
                hits.stale.inc();
                let service = self.0.clone();
                self.0.spawn(async move {
                    if let Err(error) = service.checks().load(lookup, Sender::Known).await {
                        tracing::debug!(%error, "cannot refresh a known key; serving the old one");
                    }
                });
                Held::Known(known_key)
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

    pub(super) async fn load(self, lookup: Lookup, sender: Sender) -> Result<Option<Arc<KnownKey>>, Error> {
        let now = self.0.clock().now();
        let look_up = async {
            if let (Lookup::Secret(hash), Sender::Stranger(from)) = (&lookup, sender)
                && !self.0.access().secret_exists(*hash, from).await?
            {
                return Ok(None);
            }
            let found = match &lookup {
                Lookup::Secret(hash) => self.0.repository().keys().by_secret(hash, now).await?,
                Lookup::Id(tenant_id, id) => self.0.repository().keys().with_plan(*tenant_id, *id, now).await?,
            };
            match found {
                Some(found) => Ok(Some(self.known_key_of(found, now).await?)),
                None => Ok(None),
            }
        };
        self.0.cache().load(lookup, now.timestamp_micros(), look_up).await
    }
}

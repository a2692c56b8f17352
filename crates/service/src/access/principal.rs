//! The caller: an admin token with scopes, or a client's own key, which may only read about itself.

use std::{net::IpAddr, sync::Arc};

use tollgate_domain::{AdminToken, ApiKeyId, KeySecret, Network, Scope, TenantId, TokenSecret};

use super::Access;
use crate::{Error, KnownKey};

/// The caller behind a credential.
#[derive(Clone)]
pub enum Caller {
    /// An operator or a back end, with a token.
    Token(Arc<AdminToken>),
    /// A client application with its own key.
    Key(Arc<KnownKey>),
}

impl Caller {
    /// The tenant whose data the caller may see.
    pub fn tenant_id(&self) -> TenantId {
        match self {
            Self::Token(token) => token.tenant_id,
            Self::Key(known_key) => known_key.key.tenant_id,
        }
    }

    /// The caller's token; an error for a client's key.
    pub fn token(&self) -> Result<&Arc<AdminToken>, Error> {
        match self {
            Self::Token(token) => Ok(token),
            Self::Key(_) => Err(Error::NotForClients),
        }
    }

    /// Fails unless the caller's token has `scope`.
    pub fn require(&self, scope: Scope) -> Result<TenantId, Error> {
        let token = self.token()?;
        if token.scopes.allows(scope) { Ok(token.tenant_id) } else { Err(Error::Forbidden(scope)) }
    }

    /// Fails unless the caller's token has `scope`, or the caller is the key `id` itself.
    pub fn require_or_own(&self, scope: Scope, id: ApiKeyId) -> Result<TenantId, Error> {
        match self {
            // To a client, another key is as unknown as one that does not exist.
            Self::Key(known_key) if known_key.key.id == id => Ok(known_key.key.tenant_id),
            Self::Key(_) => Err(Error::NotFound("API key")),
            Self::Token(_) => self.require(scope),
        }
    }

    /// Identifies the caller among idempotent requests.
    pub fn actor(&self) -> String {
        match self {
            Self::Token(token) => format!("token:{}", token.id),
            Self::Key(known_key) => format!("key:{}", known_key.key.id),
        }
    }
}

impl Access<'_> {
    /// The caller behind `credential`, which must be valid from `ip`.
    ///
    /// # Errors
    /// `InvalidCredential` for anything unknown; `KeyExpired` and the like for a key that may not be used;
    /// `IpNotAllowed`; `Unavailable`.
    pub async fn authenticate(self, credential: &str, ip: Option<IpAddr>) -> Result<Caller, Error> {
        if TokenSecret::looks_like(credential) {
            return self.admin_token(credential, ip).await.map(Caller::Token);
        }
        let hash = KeySecret::hash_of(credential).ok_or(Error::InvalidCredential)?;
        let known_key = self.0.checks().by_secret(hash, ip).await?;
        crate::check::admission::admissible_from(&known_key, ip, self.0.clock().now())?;
        Ok(Caller::Key(known_key))
    }

    async fn admin_token(self, credential: &str, ip: Option<IpAddr>) -> Result<Arc<AdminToken>, Error> {
        let hash = TokenSecret::hash_of(credential).or_else(|| self.0.token_cache().chosen(credential));
        let known = self.token_by_secret(hash.ok_or(Error::InvalidCredential)?, ip).await?;
        let known = known.ok_or(Error::InvalidCredential)?;
        let (token, now) = (&known.token, self.0.clock().now());
        if known.secret_ends.is_some_and(|ends| ends <= now) || token.is_expired(now) {
            return Err(Error::InvalidCredential);
        }
        if !token.allowed_ips.is_empty() && !ip.is_some_and(|ip| Network::any_contains(&token.allowed_ips, ip)) {
            return Err(Error::IpNotAllowed);
        }
        self.note_use(&known, now);
        Ok(Arc::clone(token))
    }
}

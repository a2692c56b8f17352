//! Who calls: an admin token with scopes, or a client's own key, which may read about itself only.

use std::{net::IpAddr, sync::Arc};

use tollgate_domain::{AdminToken, ApiKeyId, KeySecret, Scope, TenantId, TokenSecret};

use crate::{Entry, Error, Service};

/// The caller behind a credential.
#[derive(Clone)]
pub enum Caller {
    /// An operator or a back end.
    Token(Arc<AdminToken>),
    /// A client application, about itself.
    Key(Arc<Entry>),
}

impl Caller {
    /// Whose data may be seen.
    pub fn tenant_id(&self) -> TenantId {
        match self {
            Self::Token(token) => token.tenant_id,
            Self::Key(entry) => entry.key.tenant_id,
        }
    }

    /// Fails unless the caller's token has `scope`.
    pub fn require(&self, scope: Scope) -> Result<TenantId, Error> {
        match self {
            Self::Token(token) if token.scopes.allows(scope) => Ok(token.tenant_id),
            Self::Token(_) => Err(Error::Forbidden(scope)),
            Self::Key(_) => Err(Error::NotForClients),
        }
    }

    /// Fails unless the caller's token has `scope`, or the caller is the key `id` itself.
    pub fn require_or_own(&self, scope: Scope, id: ApiKeyId) -> Result<TenantId, Error> {
        match self {
            // Another's key is as unknown to a client as one that does not exist.
            Self::Key(entry) if entry.key.id == id => Ok(entry.key.tenant_id),
            Self::Key(_) => Err(Error::NotFound("API key")),
            Self::Token(_) => self.require(scope),
        }
    }

    /// Stands for the caller where requests are told apart (idempotency).
    pub fn actor(&self) -> String {
        match self {
            Self::Token(token) => format!("token:{}", token.id),
            Self::Key(entry) => format!("key:{}", entry.key.id),
        }
    }
}

impl Service {
    /// The caller behind `credential`. A client's key must be usable from `ip`.
    ///
    /// # Errors
    /// `InvalidCredential` for anything unknown, `KeyExpired` and the like for a key that may not be used, `Unavailable`.
    pub async fn authenticate(&self, credential: &str, ip: Option<IpAddr>) -> Result<Caller, Error> {
        if TokenSecret::looks_like(credential) {
            return self.admin_token(credential).await.map(Caller::Token);
        }
        let hash = KeySecret::hash_of(credential).ok_or(Error::InvalidCredential)?;
        let entry = self.entry_by_secret(hash).await?;
        crate::check::admissible_from(&entry, ip, self.clock().now())?;
        Ok(Caller::Key(entry))
    }

    async fn admin_token(&self, credential: &str) -> Result<Arc<AdminToken>, Error> {
        // A bootstrap token that an operator chose has no checksum.
        let secret = TokenSecret::parse(credential).or_else(|| TokenSecret::chosen(credential));
        let hash = secret.ok_or(Error::InvalidCredential)?.hash();
        let token = self.repository().find_admin_token(&hash).await?.ok_or(Error::InvalidCredential)?;
        if token.expires_at.is_some_and(|at| at <= self.clock().now()) {
            return Err(Error::InvalidCredential);
        }
        Ok(Arc::new(token))
    }
}

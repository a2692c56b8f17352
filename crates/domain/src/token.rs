//! Admin tokens: who may manage keys, plans and usage, from where and until when.

use chrono::{DateTime, Utc};

use crate::{Network, Scope, ScopeSet, TenantId, TokenId};

/// A token's record. Only the hash of its secret is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// The token's id. It stays when the secret is rotated.
    pub id: TokenId,
    /// The tenant whose data it gives access to.
    pub tenant_id: TenantId,
    /// A name for people.
    pub name: String,
    /// The start of the current secret, which may be shown.
    pub prefix: String,
    /// Its permissions.
    pub scopes: ScopeSet,
    /// Networks from which it may be used; empty for any.
    pub allowed_ips: Vec<Network>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it expires; None when it never does.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Counts its changes, from 1.
    pub version: i64,
}

/// How long a permission lasts; the longer, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lasts {
    /// It has ended, or never existed.
    No,
    /// It ends at this time.
    Until(DateTime<Utc>),
    /// It never ends.
    ForEver,
}

/// What a token would grant beyond another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// A scope that the other lacks.
    Scope(Scope),
    /// A later expiry, or none; the other token expires at this time.
    Expiry(DateTime<Utc>),
    /// Use from a network that the other may not be used from; `None` for use from anywhere.
    Network(Option<Network>),
}

impl AdminToken {
    /// A token with every scope, for use from anywhere, that never expires.
    pub fn unlimited(id: TokenId, tenant_id: TenantId, name: &str, prefix: String, now: DateTime<Utc>) -> Self {
        Self {
            id,
            tenant_id,
            name: name.to_owned(),
            prefix,
            scopes: ScopeSet::all(),
            allowed_ips: Vec::new(),
            created_at: now,
            updated_at: now,
            expires_at: None,
            last_used_at: None,
            version: 1,
        }
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// How long it has the scope `admin`.
    pub fn admin_lasts(&self, now: DateTime<Utc>) -> Lasts {
        match self.expires_at {
            _ if self.is_expired(now) || !self.scopes.allows(Scope::Admin) => Lasts::No,
            Some(at) => Lasts::Until(at),
            None => Lasts::ForEver,
        }
    }

    /// The first right that it grants and `other` does not; `None` when it grants at most as much.
    pub fn excess_over(&self, other: &Self) -> Option<Excess> {
        let scope = self.scopes.0.iter().find(|scope| !other.scopes.allows(**scope));
        if let Some(scope) = scope {
            return Some(Excess::Scope(*scope));
        }
        if let Some(end) = other.expires_at
            && self.expires_at.is_none_or(|own| own > end)
        {
            return Some(Excess::Expiry(end));
        }
        if other.allowed_ips.is_empty() {
            return None;
        }
        if self.allowed_ips.is_empty() {
            return Some(Excess::Network(None));
        }
        let is_inside = |network: &&Network| other.allowed_ips.iter().any(|allowed| allowed.holds(network));
        self.allowed_ips.iter().find(|network| !is_inside(network)).map(|network| Excess::Network(Some(*network)))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn token() -> AdminToken {
        AdminToken::unlimited(TokenId(Uuid::nil()), TenantId::DEFAULT, "t", String::new(), NOW)
    }

    fn in_hours(hours: i64) -> Option<DateTime<Utc>> {
        Some(NOW + TimeDelta::hours(hours))
    }

    fn nets(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_token_is_admin_until_it_expires() {
        assert_eq!(token().admin_lasts(NOW), Lasts::ForEver);
        let ending = AdminToken { expires_at: in_hours(1), ..token() };
        assert_eq!(ending.admin_lasts(NOW), Lasts::Until(NOW + TimeDelta::hours(1)));
        assert_eq!(ending.admin_lasts(NOW + TimeDelta::hours(1)), Lasts::No);
        let reader = AdminToken { scopes: ScopeSet(vec![Scope::KeysRead]), ..token() };
        assert_eq!(reader.admin_lasts(NOW), Lasts::No);
        assert!(Lasts::ForEver > Lasts::Until(NOW) && Lasts::Until(NOW) > Lasts::No);
    }

    #[test]
    fn what_a_token_grants_beyond_another_is_named() {
        let scoped = |scopes: &[Scope]| AdminToken { scopes: ScopeSet(scopes.to_vec()), ..token() };
        let ending = |hours| AdminToken { expires_at: in_hours(hours), ..token() };
        let from = |texts: &[&str]| AdminToken { allowed_ips: nets(texts), ..token() };
        let outside = |text: &str| Some(Excess::Network(Some(text.parse().unwrap())));
        for (token, maker, excess) in [
            (token(), token(), None),
            (scoped(&[Scope::KeysRead]), token(), None),
            (scoped(&[Scope::KeysRead]), scoped(&[Scope::KeysWrite]), Some(Excess::Scope(Scope::KeysRead))),
            (scoped(&[Scope::Admin]), scoped(&[Scope::KeysRead]), Some(Excess::Scope(Scope::Admin))),
            (ending(1), ending(2), None),
            (ending(2), ending(2), None),
            (ending(3), ending(2), Some(Excess::Expiry(NOW + TimeDelta::hours(2)))),
            (token(), ending(2), Some(Excess::Expiry(NOW + TimeDelta::hours(2)))),
            (from(&["10.1.0.0/16", "192.0.2.7/32"]), from(&["10.0.0.0/8", "192.0.2.0/24"]), None),
            (from(&["10.0.0.0/7"]), from(&["10.0.0.0/8"]), outside("10.0.0.0/7")),
            (from(&["10.0.0.0/8", "::1/128"]), from(&["10.0.0.0/8"]), outside("::1/128")),
            (token(), from(&["10.0.0.0/8"]), Some(Excess::Network(None))),
        ] {
            assert_eq!(token.excess_over(&maker), excess, "{token:?} of {maker:?}");
        }
    }
}

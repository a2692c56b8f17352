//! Admin tokens: create, list, change, rotate, delete; and a new one for an operator who has lost theirs.
//!
//! Every write reads all of the tenant's tokens in its own transaction. So a token that another node deleted a moment
//! ago cannot make a new one, and two deletions at once leave an admin.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    AdminToken, Clock, Invalid, Lasts, Page, Paged, Plan, PlanId, Scope, ScopeSet, TenantId, TokenId, TokenSecret,
    expiry, network, text,
};
use tollgate_repository::TokenWrite;

use super::Tokens;
use crate::{Config, Error, StartError, keys::require_version, open};

const TOKEN: &str = "token";
/// Most tokens of a tenant, because every write to one reads all.
const MAX_TOKENS: usize = 1_000;
/// Longest time for which a rotated secret keeps working.
const MAX_GRACE: TimeDelta = TimeDelta::days(30);

/// A token to create. The members are those of `POST /api/v1/tokens`.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members are those of AdminToken")]
pub struct NewToken {
    pub name: String,
    pub scopes: Vec<String>,
    pub allowed_ips: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A change of a token; `None` keeps the present value.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members are those of AdminToken")]
pub struct TokenChange {
    pub name: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub allowed_ips: Option<Vec<String>>,
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// A tenant's tokens, as a write's transaction sees them.
struct TokensNow<'a> {
    all: &'a [AdminToken],
    /// The token that makes the write, as it is now.
    maker: &'a AdminToken,
    now: DateTime<Utc>,
}

impl Tokens<'_> {
    /// Creates a token that grants at most what `maker` has. Only this call returns its secret.
    pub async fn create(self, maker: &AdminToken, new: &NewToken) -> Result<(AdminToken, TokenSecret), Error> {
        let secret = TokenSecret::generate()?;
        let id = TokenId(self.0.clock().new_id());
        let mut token = AdminToken::unlimited(id, maker.tenant_id, &new.name, secret.prefix(), self.0.clock().now());
        let mut invalid = Invalid::none();
        token.scopes = scopes(&new.scopes, &mut invalid);
        token.allowed_ips = network::read_list(&new.allowed_ips, &mut invalid);
        token.expires_at = new.expires_at;
        invalid.require(text::is_name(&token.name), "/name", text::NAMED);
        expiry::require_future(token.expires_at, token.created_at, &mut invalid);
        invalid.finish()?;
        let insert = |tokens: TokensNow<'_>| {
            if tokens.all.len() >= MAX_TOKENS {
                return Err(Error::Conflict(format!("there are {MAX_TOKENS} tokens already; delete some first")));
            }
            tokens.require_no_excess(&token)?;
            Ok(TokenWrite::Insert(token.clone(), secret.hash()))
        };
        Ok((self.write(maker, insert).await?, secret))
    }

    /// A tenant's tokens, the newest first.
    pub async fn list(self, tenant_id: TenantId, page: Page) -> Result<Paged<AdminToken>, Error> {
        Ok(self.0.repository().tokens().list(tenant_id, page).await?)
    }

    /// One token; `NotFound` when the tenant has none with this id.
    pub async fn get(self, tenant_id: TenantId, id: TokenId) -> Result<AdminToken, Error> {
        self.0.repository().tokens().get(tenant_id, id).await?.ok_or(Error::NotFound(TOKEN))
    }

    /// Changes a token; with `expected`, only if that is its version. It can gain nothing that `maker` lacks.
    pub async fn update(
        self,
        maker: &AdminToken,
        id: TokenId,
        change: &TokenChange,
        expected: Option<i64>,
    ) -> Result<AdminToken, Error> {
        let mut invalid = Invalid::none();
        let new_scopes = change.scopes.as_ref().map(|texts| scopes(texts, &mut invalid));
        let new_networks = change.allowed_ips.as_ref().map(|texts| network::read_list(texts, &mut invalid));
        invalid.require(change.name.as_deref().is_none_or(text::is_name), "/name", text::NAMED);
        expiry::require_future(change.expires_at.flatten(), self.0.clock().now(), &mut invalid);
        invalid.finish()?;
        self.write(maker, |tokens| {
            let before = tokens.named(id, expected)?;
            let mut after = before.clone();
            macro_rules! set {
                ($($field:ident: $value:expr),+) => { $( if let Some(value) = &$value { after.$field.clone_from(value); } )+ };
            }
            set!(name: change.name, scopes: new_scopes, allowed_ips: new_networks, expires_at: change.expires_at);
            if after.excess_over(before).is_some() {
                tokens.require_no_excess(&after)?;
            }
            tokens.require_an_admin(id, Some(&after))?;
            Ok(TokenWrite::Update(after))
        })
        .await
    }

    /// Makes a new secret for the same token. The previous one works for `grace_seconds` more.
    pub async fn rotate(
        self,
        maker: &AdminToken,
        id: TokenId,
        grace_seconds: u64,
        expected: Option<i64>,
    ) -> Result<(AdminToken, TokenSecret), Error> {
        let most = MAX_GRACE.num_seconds().unsigned_abs();
        let grace = i64::try_from(grace_seconds).ok().filter(|_| grace_seconds <= most);
        let grace = grace.ok_or_else(|| Invalid::field("/grace_seconds", format!("from 0 to {most}")))?;
        let secret = TokenSecret::generate()?;
        let rotate = |tokens: TokensNow<'_>| {
            let token = tokens.named(id, expected)?;
            // The maker sees the new secret, so the token must not exceed the maker's.
            tokens.require_no_excess(token)?;
            let token = AdminToken { prefix: secret.prefix(), ..token.clone() };
            Ok(TokenWrite::Rotate(token, secret.hash(), tokens.now + TimeDelta::seconds(grace)))
        };
        Ok((self.write(maker, rotate).await?, secret))
    }

    /// Ends a token at once and hides it.
    pub async fn delete(self, maker: &AdminToken, id: TokenId, expected: Option<i64>) -> Result<(), Error> {
        let delete = |tokens: TokensNow<'_>| {
            let token = tokens.named(id, expected)?;
            tokens.require_an_admin(id, None)?;
            Ok(TokenWrite::Delete(token.clone()))
        };
        self.write(maker, delete).await.map(drop)
    }

    async fn write(
        self,
        maker: &AdminToken,
        decide: impl Fn(TokensNow<'_>) -> Result<TokenWrite, Error>,
    ) -> Result<AdminToken, Error> {
        let now = self.0.clock().now();
        let decide = |all: &[AdminToken]| {
            let maker = all.iter().find(|token| token.id == maker.id && !token.is_expired(now));
            let maker = maker.ok_or(Error::InvalidCredential)?;
            if !maker.scopes.allows(Scope::Admin) {
                return Err(Error::Forbidden(Scope::Admin));
            }
            decide(TokensNow { all, maker, now })
        };
        let written = self.0.repository().tokens().change(maker.tenant_id, now, decide).await?;
        self.0.token_cache().forget(&[written.id]);
        Ok(written)
    }
}

impl<'a> TokensNow<'a> {
    fn named(&self, id: TokenId, expected: Option<i64>) -> Result<&'a AdminToken, Error> {
        let token = self.all.iter().find(|token| token.id == id).ok_or(Error::NotFound(TOKEN))?;
        require_version(expected, token.version)?;
        Ok(token)
    }

    /// Fails when `token` grants something that the maker lacks.
    fn require_no_excess(&self, token: &AdminToken) -> Result<(), Error> {
        token.excess_over(self.maker).map_or(Ok(()), |excess| Err(Error::Exceeds(excess)))
    }

    /// Fails when changing the token `id` to `after`, or deleting it, would leave the tenant with an `admin` token for
    /// a shorter time than now. So a token that expires cannot replace one that does not.
    fn require_an_admin(&self, id: TokenId, after: Option<&AdminToken>) -> Result<(), Error> {
        let before = self.all.iter().map(|token| token.admin_lasts(self.now)).max();
        let others = self.all.iter().filter(|token| token.id != id);
        let after = others.chain(after).map(|token| token.admin_lasts(self.now)).max();
        if after.unwrap_or(Lasts::No) >= before.unwrap_or(Lasts::No) {
            return Ok(());
        }
        let detail = "no other token has the scope admin for as long as this one; make one first";
        Err(Error::Conflict(detail.into()))
    }
}

/// Parses scopes; the error names each wrong one and what is allowed.
fn scopes(texts: &[String], invalid: &mut Invalid) -> ScopeSet {
    invalid.require(!texts.is_empty(), "/scopes", "at least one scope");
    let mut scopes = Vec::new();
    for (index, text) in texts.iter().enumerate().take(Scope::ALL.len() + 1) {
        match text.parse::<Scope>() {
            Ok(scope) if scopes.contains(&scope) => invalid.push(format!("/scopes/{index}"), "each scope once"),
            Ok(scope) => scopes.push(scope),
            Err(_) => {
                let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                invalid.push(format!("/scopes/{index}"), format!("one of {}", known.join(", ")));
            }
        }
    }
    ScopeSet(scopes)
}

/// Makes a token with all scopes in the installation's first tenant, whatever tokens exist: for an operator
/// who has lost theirs and has the database's address. On an empty database it is the first token, and the
/// default plans are made with it.
pub async fn new_token(config: &Config, clock: &Clock, name: &str) -> Result<TokenSecret, StartError> {
    let mut invalid = Invalid::none();
    invalid.require(text::is_name(name), "/name", text::NAMED);
    invalid.finish()?;
    let repository = open::repository(config).await?;
    repository.migrate().await?;
    let (now, secret) = (clock.now(), TokenSecret::generate()?);
    let id = TokenId(clock.new_id());
    let token = AdminToken::unlimited(id, TenantId::DEFAULT, name, secret.prefix(), now);
    let plans = Plan::defaults(TenantId::DEFAULT, now, || PlanId(clock.new_id()));
    if !repository.bootstrap(TenantId::DEFAULT, &plans, &token, &secret.hash()).await? {
        repository.tokens().insert(TenantId::DEFAULT, &token, &secret.hash()).await?;
    }
    repository.close().await;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(after: &[(u128, Option<i64>, &[Scope])], delete: u128) -> bool {
        let now = DateTime::UNIX_EPOCH;
        let tokens: Vec<_> = after
            .iter()
            .map(|(id, hours, scopes)| AdminToken {
                scopes: ScopeSet(scopes.to_vec()),
                expires_at: hours.map(|hours| now + TimeDelta::hours(hours)),
                ..AdminToken::unlimited(TokenId(uuid::Uuid::from_u128(*id)), TenantId::DEFAULT, "t", "".into(), now)
            })
            .collect();
        let maker = &tokens[0];
        let tokens = TokensNow { all: &tokens, maker, now };
        tokens.require_an_admin(TokenId(uuid::Uuid::from_u128(delete)), None).is_err()
    }

    #[test]
    fn the_last_admin_is_the_one_that_no_other_outlasts() {
        const ADMIN: &[Scope] = &[Scope::Admin];
        const READER: &[Scope] = &[Scope::KeysRead];
        for (tokens, deleted, is_refused) in [
            (&[(1, None, ADMIN)][..], 1, true),
            (&[(1, None, ADMIN), (2, None, READER)], 1, true),
            (&[(1, None, ADMIN), (2, None, READER)], 2, false),
            (&[(1, None, ADMIN), (2, None, ADMIN)], 1, false),
            (&[(1, None, ADMIN), (2, Some(1), ADMIN)], 1, true),
            (&[(1, None, ADMIN), (2, Some(1), ADMIN)], 2, false),
            (&[(1, Some(2), ADMIN), (2, Some(1), ADMIN)], 1, true),
            (&[(1, Some(2), ADMIN), (2, Some(2), ADMIN)], 1, false),
            (&[(1, None, ADMIN), (2, Some(-1), ADMIN)], 2, false),
            (&[(1, Some(-1), ADMIN)], 1, false),
        ] {
            assert_eq!(refused(tokens, deleted), is_refused, "{tokens:?} without {deleted}");
        }
    }

    #[test]
    fn every_wrong_scope_is_named() {
        let mut invalid = Invalid::none();
        let texts = ["keys:read", "keys:delete", "keys:read", ""].map(str::to_owned);
        assert_eq!(scopes(&texts, &mut invalid), ScopeSet(vec![Scope::KeysRead]));
        let pointers: Vec<_> = invalid.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/scopes/1", "/scopes/2", "/scopes/3"]);
        assert!(invalid.errors[0].detail.contains("keys:write") && !invalid.errors[0].detail.contains("delete"));
    }
}

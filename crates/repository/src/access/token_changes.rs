//! Writes to a tenant's tokens, one transaction each. Whether a write is allowed depends on the tenant's other
//! tokens (the maker's rights, the last admin). So the decision sees all of them, and no other write changes
//! one until this one is committed.

use chrono::{DateTime, Utc};
use tollgate_domain::{AdminToken, SecretHash, TenantId, TokenId};

use super::Tokens;
use crate::{
    Error,
    access::tokens::{Origin, TokenRow, insert, token_columns},
    core::{database::Tx, json, revisions, time::micros},
};

/// One write to a tenant's tokens.
#[derive(Clone)]
pub enum TokenWrite {
    /// A new token with the hash of its secret.
    Insert(AdminToken, SecretHash),
    /// Name, scopes, networks and expiry of a token; increments its version.
    Update(AdminToken),
    /// A new secret: the token with its prefix, the new hash, and the latest end of all former secrets.
    Rotate(AdminToken, SecretHash, DateTime<Utc>),
    /// Hides the token and ends all its secrets.
    Delete(AdminToken),
}

impl Tokens<'_> {
    /// Calls `decide` with all of the tenant's tokens and makes the write that it returns. Returns the token after the
    /// write, or as it was before a deletion; or `decide`'s refusal. `decide` may be called again with newer tokens.
    pub async fn change<E: From<Error>>(
        self,
        tenant_id: TenantId,
        now: DateTime<Utc>,
        decide: impl Fn(&[AdminToken]) -> Result<TokenWrite, E>,
    ) -> Result<AdminToken, E> {
        let changed = self.0.write_in_turn(|| async {
            let mut tx = self.0.begin().await?;
            // Locks the counter: until the end of this transaction nobody else writes a token.
            let revision = revisions::next(&mut tx).await?;
            let decided = match decide(&all(&mut tx, tenant_id).await?) {
                Ok(decided) => decided,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let written = write(&mut tx, tenant_id, decided, now, revision).await?;
            tx.commit().await?;
            Ok(Ok(written))
        });
        changed.await?
    }

    /// Inserts a token, whatever others the tenant has. [`Error::Conflict`] when it exists or the tenant does not.
    pub async fn insert(self, tenant_id: TenantId, token: &AdminToken, hash: &SecretHash) -> Result<(), Error> {
        self.0
            .write_in_turn(|| async {
                let mut tx = self.0.begin().await?;
                let revision = revisions::next(&mut tx).await?;
                insert(&mut tx, tenant_id, token, hash, Origin::Generated, revision).await?;
                tx.commit().await
            })
            .await
    }
}

async fn all(tx: &mut Tx, tenant_id: TenantId) -> Result<Vec<AdminToken>, Error> {
    let text =
        concat!("select ", token_columns!(), " from admin_tokens t where t.tenant_id = $1 and t.deleted_at is null");
    let rows: Vec<TokenRow> = on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).fetch_all(&mut **t).await)?;
    rows.into_iter().map(AdminToken::try_from).collect()
}

async fn write(
    tx: &mut Tx,
    tenant_id: TenantId,
    decided: TokenWrite,
    now: DateTime<Utc>,
    revision: i64,
) -> Result<AdminToken, Error> {
    match decided {
        TokenWrite::Insert(token, hash) => {
            insert(tx, tenant_id, &token, &hash, Origin::Generated, revision).await?;
            get(tx, tenant_id, token.id).await
        }
        TokenWrite::Update(token) => {
            update(tx, tenant_id, &token, now, revision).await?;
            get(tx, tenant_id, token.id).await
        }
        TokenWrite::Rotate(token, hash, former_end) => {
            rotate(tx, tenant_id, &token, &hash, now, former_end, revision).await?;
            get(tx, tenant_id, token.id).await
        }
        TokenWrite::Delete(token) => {
            delete(tx, tenant_id, token.id, now, revision).await?;
            Ok(token)
        }
    }
}

async fn get(tx: &mut Tx, tenant_id: TenantId, id: TokenId) -> Result<AdminToken, Error> {
    let text = concat!("select ", token_columns!(), " from admin_tokens t where t.tenant_id = $1 and t.id = $2");
    let row: Option<TokenRow> =
        on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    row.ok_or(Error::Conflict)?.try_into()
}

async fn update(
    tx: &mut Tx,
    tenant_id: TenantId,
    token: &AdminToken,
    now: DateTime<Utc>,
    revision: i64,
) -> Result<(), Error> {
    let (scopes, allowed_ips) = (json::items(&token.scopes.0)?, json::items(&token.allowed_ips)?);
    let text = "
        update admin_tokens set name = $3, scopes = $4, allowed_ips = $5, expires_at = $6, updated_at = $7,
            version = version + 1, revision = $8
        where tenant_id = $1 and id = $2";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(token.id.0).bind(&token.name).bind(scopes).bind(allowed_ips)
        .bind(token.expires_at.map(micros)).bind(micros(now)).bind(revision)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// Makes the current secret a former one, ends all former ones at `former_end` at the latest, and
/// stores the new one as current.
async fn rotate(
    tx: &mut Tx,
    tenant_id: TenantId,
    token: &AdminToken,
    hash: &SecretHash,
    now: DateTime<Utc>,
    former_end: DateTime<Utc>,
    revision: i64,
) -> Result<(), Error> {
    let keep = "
        insert into former_token_secrets (hash, chosen, tenant_id, token_id, expires_at)
        select hash, chosen, tenant_id, id, $3 from admin_tokens where tenant_id = $1 and id = $2";
    let shorten = "
        update former_token_secrets set expires_at = $3 where tenant_id = $1 and token_id = $2 and expires_at > $3";
    let forget = "delete from former_token_secrets where tenant_id = $1 and token_id = $2 and expires_at <= $3";
    for (text, at) in [(keep, former_end), (shorten, former_end), (forget, now)] {
        on!(&mut *tx, t => sqlx::query(text)
            .bind(tenant_id.0).bind(token.id.0).bind(micros(at)).execute(&mut **t).await.map(|_| ()))?;
    }
    let replace = "
        update admin_tokens set hash = $3, chosen = false, prefix = $4, updated_at = $5, version = version + 1, revision = $6
        where tenant_id = $1 and id = $2";
    on!(&mut *tx, t => sqlx::query(replace)
        .bind(tenant_id.0).bind(token.id.0).bind(hash.0.as_slice()).bind(&token.prefix).bind(micros(now)).bind(revision)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// It also expires, because nodes of the previous version know no deletion.
async fn delete(tx: &mut Tx, tenant_id: TenantId, id: TokenId, now: DateTime<Utc>, revision: i64) -> Result<(), Error> {
    let hide = "
        update admin_tokens set deleted_at = $3, expires_at = $3, updated_at = $3, version = version + 1, revision = $4
        where tenant_id = $1 and id = $2";
    on!(&mut *tx, t => sqlx::query(hide)
        .bind(tenant_id.0).bind(id.0).bind(micros(now)).bind(revision).execute(&mut **t).await.map(|_| ()))?;
    let forget = "delete from former_token_secrets where tenant_id = $1 and token_id = $2";
    on!(&mut *tx, t => sqlx::query(forget)
        .bind(tenant_id.0).bind(id.0).execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

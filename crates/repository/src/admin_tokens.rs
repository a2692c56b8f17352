//! Admin tokens, found by the hash of their secret.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{AdminToken, ScopeSet, SecretHash, TenantId, TokenId};
use uuid::Uuid;

use crate::{Error, Repository, calendar::micros, database::Tx, json};

#[derive(sqlx::FromRow)]
struct TokenRow {
    tenant_id: Uuid,
    id: Uuid,
    hash: Vec<u8>,
    name: String,
    prefix: String,
    scopes: Json<Value>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

impl TryFrom<TokenRow> for AdminToken {
    type Error = Error;

    fn try_from(row: TokenRow) -> Result<Self, Error> {
        Ok(Self {
            id: TokenId(row.id),
            tenant_id: TenantId(row.tenant_id),
            name: row.name,
            prefix: row.prefix,
            scopes: ScopeSet(json::read_items(row.scopes, "admin_tokens.scopes")?),
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

impl Repository {
    /// [`Error::Conflict`] when the token exists or there is no such tenant.
    pub async fn insert_admin_token(
        &self,
        tenant_id: TenantId,
        token: &AdminToken,
        hash: &SecretHash,
    ) -> Result<(), Error> {
        self.write(|| async {
            let mut tx = self.begin().await?;
            insert(&mut tx, tenant_id, token, hash).await?;
            tx.commit().await
        })
        .await
    }

    /// The token of this secret, expired or not. The credential names the tenant, so none is given.
    pub async fn find_admin_token(&self, hash: &SecretHash) -> Result<Option<AdminToken>, Error> {
        let text = "
            select tenant_id, id, hash, name, prefix, scopes, created_at, expires_at
            from admin_tokens where hash = $1";
        let row: Option<TokenRow> = self
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text).bind(hash.0.as_slice()).fetch_optional(pool).await)
            })
            .await?;
        row.filter(|row| same_hash(&row.hash, hash)).map(AdminToken::try_from).transpose()
    }
}

/// Compares a stored hash with the one looked up, in constant time; the index look-up itself works on hashes only.
pub(crate) fn same_hash(stored: &[u8], hash: &SecretHash) -> bool {
    stored.try_into().is_ok_and(|stored| SecretHash(stored).ct_eq(hash))
}

pub(crate) async fn insert(
    tx: &mut Tx,
    tenant_id: TenantId,
    token: &AdminToken,
    hash: &SecretHash,
) -> Result<(), Error> {
    let scopes = json::items(&token.scopes.0)?;
    let text = "
        insert into admin_tokens (tenant_id, id, hash, name, prefix, scopes, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(token.id.0).bind(hash.0.as_slice()).bind(&token.name).bind(&token.prefix).bind(scopes)
        .bind(micros(token.created_at)).bind(token.expires_at.map(micros))
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

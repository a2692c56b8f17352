//! Admin tokens, by the hash of a secret or in a list. A deleted token stays hidden in its table, so that nodes learn
//! of the deletion and the history keeps its name.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{AdminToken, Page, Paged, ScopeSet, SecretHash, TenantId, TokenId};
use uuid::Uuid;

use super::Tokens;
use crate::{
    Error,
    core::{database::Tx, json, time::micros},
};

/// A token, with the secret that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundToken {
    /// The token, expired or not.
    pub token: AdminToken,
    /// When that secret ends, because a rotation has replaced it. None for the current one.
    pub secret_expires_at: Option<DateTime<Utc>>,
}

/// The columns of [`TokenRow`], from a table `t`.
macro_rules! token_columns {
    () => {
        "t.tenant_id, t.id, t.name, t.prefix, t.scopes, t.allowed_ips, t.created_at, t.updated_at, t.expires_at,
         t.last_used_at, t.version"
    };
}
pub(crate) use token_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct TokenRow {
    tenant_id: Uuid,
    id: Uuid,
    name: String,
    prefix: String,
    scopes: Json<Value>,
    allowed_ips: Json<Value>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    version: i64,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    token: TokenRow,
    hash: Vec<u8>,
    secret_expires_at: Option<DateTime<Utc>>,
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
            allowed_ips: json::read_items(row.allowed_ips, "admin_tokens.allowed_ips")?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            version: row.version,
        })
    }
}

impl Tokens<'_> {
    /// The token with this secret: the current one, or a former one whose grace lasts at `now`. There is no tenant
    /// parameter, because the credential determines the tenant.
    pub async fn by_secret(self, hash: &SecretHash, now: DateTime<Utc>) -> Result<Option<FoundToken>, Error> {
        let text = concat!(
            "select ",
            token_columns!(),
            ", t.hash, null as secret_expires_at
             from admin_tokens t where t.hash = $1 and t.deleted_at is null
             union all
             select ",
            token_columns!(),
            ", s.hash, s.expires_at as secret_expires_at
             from former_token_secrets s join admin_tokens t on t.tenant_id = s.tenant_id and t.id = s.token_id
             where s.hash = $1 and s.expires_at > $2 and t.deleted_at is null"
        );
        let row: Option<FoundRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(hash.0.as_slice()).bind(micros(now)).fetch_optional(pool).await)
            })
            .await?;
        let Some(row) = row.filter(|row| same_hash(&row.hash, hash)) else { return Ok(None) };
        Ok(Some(FoundToken { token: row.token.try_into()?, secret_expires_at: row.secret_expires_at }))
    }

    /// Hashes of the secrets that operators chose, which may lack a checksum: a few in a whole installation.
    pub async fn chosen_secrets(self) -> Result<Vec<SecretHash>, Error> {
        let text = "
            select hash from admin_tokens where chosen and deleted_at is null
            union all select hash from former_token_secrets where chosen";
        let hashes: Vec<Vec<u8>> =
            self.0.read(|db| async move { on!(&db, pool => sqlx::query_scalar(text).fetch_all(pool).await) }).await?;
        Ok(hashes.into_iter().filter_map(|hash| hash.try_into().ok().map(SecretHash)).collect())
    }

    /// A token by its id. From the primary, so that a client sees its own write.
    pub async fn get(self, tenant_id: TenantId, id: TokenId) -> Result<Option<AdminToken>, Error> {
        let text = concat!(
            "select ",
            token_columns!(),
            " from admin_tokens t where t.tenant_id = $1 and t.id = $2 and t.deleted_at is null"
        );
        let row: Option<TokenRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(pool).await)
            })
            .await?;
        row.map(AdminToken::try_from).transpose()
    }

    /// A tenant's tokens, the newest first. From the primary.
    pub async fn list(self, tenant_id: TenantId, page: Page) -> Result<Paged<AdminToken>, Error> {
        let text = concat!(
            "select ",
            token_columns!(),
            " from admin_tokens t where t.tenant_id = $1 and t.deleted_at is null
              order by t.created_at desc, t.id desc limit $2 offset $3"
        );
        let count = "select count(*) from admin_tokens where tenant_id = $1 and deleted_at is null";
        let (rows, total): (Vec<TokenRow>, i64) = self
            .0
            .read(|db| async move {
                on!(&db, pool => {
                    let rows = sqlx::query_as(text)
                        .bind(tenant_id.0).bind(page.rows()).bind(page.offset()).fetch_all(pool).await?;
                    let total = sqlx::query_scalar(count).bind(tenant_id.0).fetch_one(pool).await?;
                    Ok((rows, total))
                })
            })
            .await?;
        let items = rows.into_iter().map(AdminToken::try_from).collect::<Result<_, _>>()?;
        Ok(Paged { items, total })
    }

    /// Records that the token was used at `at`. This counts as no change, so no cache forgets the token.
    pub async fn touch(self, tenant_id: TenantId, id: TokenId, at: DateTime<Utc>) -> Result<(), Error> {
        let text = "
            update admin_tokens set last_used_at = $3
            where tenant_id = $1 and id = $2 and (last_used_at is null or last_used_at < $3)";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                on!(&mut tx, t => sqlx::query(text)
                .bind(tenant_id.0).bind(id.0).bind(micros(at)).execute(&mut **t).await.map(|_| ()))?;
                tx.commit().await
            })
            .await
    }
}

/// Compares a stored hash with the wanted one, in constant time. The index look-up itself sees hashes only.
pub(crate) fn same_hash(stored: &[u8], hash: &SecretHash) -> bool {
    stored.try_into().is_ok_and(|stored| SecretHash(stored).ct_eq(hash))
}

/// Who chose a token's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The service: it carries a checksum.
    Generated,
    /// Perhaps an operator: it may lack a checksum.
    Chosen,
}

pub(crate) async fn insert(
    tx: &mut Tx,
    tenant_id: TenantId,
    token: &AdminToken,
    hash: &SecretHash,
    origin: Origin,
    revision: i64,
) -> Result<(), Error> {
    let (scopes, allowed_ips) = (json::items(&token.scopes.0)?, json::items(&token.allowed_ips)?);
    let text = "
        insert into admin_tokens (tenant_id, id, hash, chosen, name, prefix, scopes, allowed_ips, created_at, updated_at,
            expires_at, last_used_at, deleted_at, version, revision)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, null, null, $12, $13)";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(token.id.0).bind(hash.0.as_slice()).bind(origin == Origin::Chosen)
        .bind(&token.name).bind(&token.prefix).bind(scopes).bind(allowed_ips)
        .bind(micros(token.created_at)).bind(micros(token.updated_at)).bind(token.expires_at.map(micros))
        .bind(token.version).bind(revision)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

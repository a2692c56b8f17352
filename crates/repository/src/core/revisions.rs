//! The numbered changes of keys, plans and tokens, which nodes poll to learn what to forget.

use tollgate_domain::{ApiKeyId, TenantId, TokenId};
use uuid::Uuid;

use crate::{Error, Repository, core::database::Tx};

/// The changes since a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The revision from which to ask next time.
    pub revision: i64,
    /// Keys that were created, changed or deleted.
    pub api_keys: Vec<ApiKeyId>,
    /// Plans that were created, changed or deleted, by the slug that keys use.
    pub plans: Vec<(TenantId, String)>,
    /// Tokens that were created, changed, rotated or deleted.
    pub admin_tokens: Vec<TokenId>,
}

impl Repository {
    /// The number of the last write to any key, plan or token.
    pub async fn revision(&self) -> Result<i64, Error> {
        let text = "select value from revisions where name = 'catalog'";
        self.read(|db| async move { on!(&db, pool => sqlx::query_scalar(text).fetch_one(pool).await) }).await
    }

    /// Every change above `revision`, of all tenants, because a node caches all tenants' keys. A change may be returned
    /// twice, but is never missed. The cost is proportional to the number of changes.
    pub async fn changes_since(&self, revision: i64) -> Result<Changes, Error> {
        // The counter is read first. Rows with later numbers may be returned too, and then again next time.
        let now = self.revision().await?;
        if now <= revision {
            return Ok(Changes { revision: now, ..Changes::default() });
        }
        let (keys, plans, tokens) = self
            .read(|db| async move {
                on!(&db, pool => {
                    let keys: Vec<Uuid> = sqlx::query_scalar("select id from api_keys where revision > $1")
                        .bind(revision).fetch_all(pool).await?;
                    let plans: Vec<(Uuid, String)> = sqlx::query_as("select tenant_id, name from plans where revision > $1")
                        .bind(revision).fetch_all(pool).await?;
                    let tokens: Vec<Uuid> = sqlx::query_scalar("select id from admin_tokens where revision > $1")
                        .bind(revision).fetch_all(pool).await?;
                    Ok((keys, plans, tokens))
                })
            })
            .await?;
        Ok(Changes {
            revision: now,
            api_keys: keys.into_iter().map(ApiKeyId).collect(),
            plans: plans.into_iter().map(|(tenant, name)| (TenantId(tenant), name)).collect(),
            admin_tokens: tokens.into_iter().map(TokenId).collect(),
        })
    }
}

/// Takes the next number. It must come first in its transaction: the row stays locked until the end, so all writes to
/// keys, plans and tokens happen one after another, in the order of their numbers.
pub(crate) async fn next(tx: &mut Tx) -> Result<i64, Error> {
    let text = "update revisions set value = value + 1 where name = 'catalog' returning value";
    Ok(on!(tx, t => sqlx::query_scalar(text).fetch_one(&mut **t).await)?)
}

//! The first start on an empty database: a tenant, its plans and one admin token.

use tollgate_domain::{AdminToken, Plan, SecretHash, TenantId};

use crate::{
    Error, Repository,
    access::{
        tenants,
        tokens::{self, Origin},
    },
    core::revisions,
    plans,
};

impl Repository {
    /// Makes tenant, plans and token in one transaction, unless an admin token already exists: then it returns
    /// false and changes nothing. Plans whose name exists stay unchanged. When several nodes start at once,
    /// exactly one of them gets true.
    pub async fn bootstrap(
        &self,
        tenant_id: TenantId,
        plans: &[Plan],
        token: &AdminToken,
        token_hash: &SecretHash,
    ) -> Result<bool, Error> {
        self.write_in_turn(|| async {
            let mut tx = self.begin().await?;
            // Locks the counter, so the other nodes read only after this one has committed.
            let revision = revisions::next(&mut tx).await?;
            let text = "select count(*) from admin_tokens";
            let tokens: i64 = on!(&mut tx, t => sqlx::query_scalar(text).fetch_one(&mut **t).await)?;
            if tokens > 0 {
                return Ok(false);
            }
            tenants::insert(&mut tx, tenant_id, token.created_at).await?;
            for plan in plans {
                if plans::named(&mut tx, tenant_id, &plan.name).await?.is_none() {
                    plans::insert(&mut tx, tenant_id, plan, revision).await?;
                }
            }
            tokens::insert(&mut tx, tenant_id, token, token_hash, Origin::Chosen, revision).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

//! Tenants.

use chrono::{DateTime, Utc};
use tollgate_domain::TenantId;

use crate::{Error, Repository, calendar::micros, database::Tx};

impl Repository {
    /// Makes a tenant; one that exists stays as it is.
    pub async fn insert_tenant(&self, tenant_id: TenantId, now: DateTime<Utc>) -> Result<(), Error> {
        self.write(|| async {
            let mut tx = self.begin().await?;
            insert(&mut tx, tenant_id, now).await?;
            tx.commit().await
        })
        .await
    }
}

pub(crate) async fn insert(tx: &mut Tx, tenant_id: TenantId, now: DateTime<Utc>) -> Result<(), Error> {
    let text = "insert into tenants (id, created_at) values ($1, $2) on conflict (id) do nothing";
    on!(tx, t => sqlx::query(text).bind(tenant_id.0).bind(micros(now)).execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

//! Tenants.

use chrono::{DateTime, Utc};
use tollgate_domain::TenantId;

use super::Tenants;
use crate::{
    Error,
    core::{database::Tx, time::micros},
};

impl Tenants<'_> {
    /// Makes a tenant; an existing one stays unchanged.
    pub async fn insert(self, tenant_id: TenantId, now: DateTime<Utc>) -> Result<(), Error> {
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
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

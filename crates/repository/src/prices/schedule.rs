//! A plan's prices from a moment on.

use chrono::{DateTime, Utc};
use tollgate_domain::{Plan, PriceId, TenantId};

use crate::{
    Error,
    core::{database::Tx, json, time::micros},
};

/// Gives the plan the prices that it says, from `starts_at` on, in place of whatever was to come into force then or later.
/// Equal prices change nothing. The first prices of a plan count from the beginning of time.
pub(crate) async fn set(tx: &mut Tx, tenant_id: TenantId, plan: &Plan, starts_at: DateTime<Utc>) -> Result<(), Error> {
    let terms = plan.price_terms();
    let encoded = |error: serde_json::Error| Error::Database(sqlx::Error::Encode(Box::new(error)));
    let (id, starts_at) = (terms.id(tenant_id, plan.id).map_err(encoded)?, micros(starts_at));
    let terms = json::object(&terms)?;
    let later = "delete from plan_prices where tenant_id = $1 and plan_id = $2 and starts_at >= $3 and not is_first";
    let newest = "
        select price_id from plan_prices where tenant_id = $1 and plan_id = $2 order by starts_at desc limit 1";
    let version = "
        insert into prices (tenant_id, id, plan_id, terms, created_at) values ($1, $2, $3, $4, $5)
        on conflict (tenant_id, id) do nothing";
    let from = "
        insert into plan_prices (tenant_id, plan_id, starts_at, price_id, is_first) values ($1, $2, $3, $4, $5)
        on conflict (tenant_id, plan_id, starts_at) do update set price_id = excluded.price_id";
    on!(tx, t => {
        sqlx::query(later).bind(tenant_id.0).bind(plan.id.0).bind(starts_at).execute(&mut **t).await?;
        let newest: Option<uuid::Uuid> = sqlx::query_scalar(newest)
            .bind(tenant_id.0).bind(plan.id.0).fetch_optional(&mut **t).await?;
        if newest.map(PriceId) == Some(id) {
            return Ok(());
        }
        sqlx::query(version)
            .bind(tenant_id.0).bind(id.0).bind(plan.id.0).bind(terms).bind(micros(plan.updated_at))
            .execute(&mut **t).await?;
        sqlx::query(from)
            .bind(tenant_id.0).bind(plan.id.0).bind(starts_at).bind(id.0).bind(newest.is_none())
            .execute(&mut **t).await?;
        Ok(())
    })
}

//! From when a key is on which plan, and whether it is billed.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, ApiKeyId, Environment, PlanId, TenantId, period::month_of};

use crate::{
    Error,
    core::{database::Tx, time::micros},
};

const INSERT: &str = "
    insert into plan_spans (tenant_id, api_key_id, starts_at, plan_id, is_first) values ($1, $2, $3, $4, $5)";

/// A key that was just made: on its plan, and billed from this month on unless it is for tests.
pub(crate) async fn begin(tx: &mut Tx, tenant_id: TenantId, key: &ApiKey, plan_id: PlanId) -> Result<(), Error> {
    let account = "
        insert into billing_accounts (tenant_id, api_key_id, next_period) values ($1, $2, $3)";
    on!(tx, t => {
        sqlx::query(INSERT)
            .bind(tenant_id.0).bind(key.id.0).bind(micros(key.created_at)).bind(plan_id.0).bind(true)
            .execute(&mut **t).await?;
        if key.environment == Environment::Live {
            sqlx::query(account)
                .bind(tenant_id.0).bind(key.id.0).bind(month_of(key.created_at)).execute(&mut **t).await?;
        }
        Ok(())
    })
}

/// The key is on this plan from `starts_at` on, in place of whatever was to come then or later.
pub(crate) async fn change(
    tx: &mut Tx,
    tenant_id: TenantId,
    id: ApiKeyId,
    plan_id: PlanId,
    starts_at: DateTime<Utc>,
) -> Result<(), Error> {
    let later = "delete from plan_spans where tenant_id = $1 and api_key_id = $2 and starts_at >= $3 and not is_first";
    let newest = "
        select plan_id from plan_spans where tenant_id = $1 and api_key_id = $2 order by starts_at desc limit 1";
    on!(tx, t => {
        sqlx::query(later).bind(tenant_id.0).bind(id.0).bind(starts_at).execute(&mut **t).await?;
        let newest: Option<uuid::Uuid> = sqlx::query_scalar(newest)
            .bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await?;
        if newest.map(PlanId) != Some(plan_id) {
            sqlx::query(INSERT)
                .bind(tenant_id.0).bind(id.0).bind(starts_at).bind(plan_id.0).bind(false)
                .execute(&mut **t).await?;
        }
        Ok(())
    })
}

/// The key was revoked or deleted: nothing is owed for later periods. The first moment counts.
pub(crate) async fn end(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId, at: DateTime<Utc>) -> Result<(), Error> {
    let text = "
        update billing_accounts set ended_at = $3 where tenant_id = $1 and api_key_id = $2 and ended_at is null";
    on!(tx, t => sqlx::query(text).bind(tenant_id.0).bind(id.0).bind(micros(at)).execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// Whether any key is or was on the plan.
pub(crate) async fn any_on(tx: &mut Tx, tenant_id: TenantId, plan_id: PlanId) -> Result<bool, Error> {
    let text = "select exists (select 1 from plan_spans where tenant_id = $1 and plan_id = $2)";
    Ok(on!(tx, t => sqlx::query_scalar(text).bind(tenant_id.0).bind(plan_id.0).fetch_one(&mut **t).await)?)
}

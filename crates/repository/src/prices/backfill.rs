//! Prices of plans that a version before this one wrote.

use tollgate_domain::Plan;
use uuid::Uuid;

use super::set;
use crate::{
    Error, Repository,
    core::json,
    plans::{PlanRow, plan_columns},
};

impl Repository {
    /// Gives every plan without a version of its prices its first one: after an upgrade, and when a node of the version before
    /// has made a plan meanwhile. Does nothing else, and any number of processes may do so at once.
    pub(crate) async fn ensure_prices(&self) -> Result<(), Error> {
        let missing = concat!(
            "select ",
            plan_columns!(),
            " from plans p where not exists (select 1 from plan_prices v where v.tenant_id = p.tenant_id and v.plan_id = p.id)"
        );
        let fill = "update plans set prices = $3 where tenant_id = $1 and id = $2 and prices is null";
        let lock = "update revisions set value = value where name = 'catalog'";
        self.write_in_turn(|| async {
            let mut tx = self.begin().await?;
            on!(&mut tx, t => sqlx::query(lock).execute(&mut **t).await.map(|_| ()))?;
            let rows: Vec<PlanRow> = on!(&mut tx, t => sqlx::query_as(missing).fetch_all(&mut **t).await)?;
            for row in rows {
                let plan = Plan::try_from(row)?;
                let prices = json::object(&plan.prices)?;
                let (tenant, id): (Uuid, Uuid) = (plan.tenant_id.0, plan.id.0);
                on!(&mut tx, t => sqlx::query(fill)
                    .bind(tenant).bind(id).bind(prices).execute(&mut **t).await.map(|_| ()))?;
                set(&mut tx, plan.tenant_id, &plan, plan.created_at).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Notes once how many units were counted before journals' units were.
    pub(crate) async fn ensure_baseline(&self) -> Result<(), Error> {
        let known = "select count(*) from journal_baseline";
        let insert = "insert into journal_baseline (name, units) values ('journal', $1) on conflict (name) do nothing";
        let is_known: i64 =
            self.read(|db| async move { on!(&db, pool => sqlx::query_scalar(known).fetch_one(pool).await) }).await?;
        if is_known > 0 {
            return Ok(());
        }
        // Nothing was brought before: what there is, is the baseline.
        let (brought, held) = self.billing().journal_units().await?;
        let units = held.saturating_sub(brought);
        self.write(|| async {
            let mut tx = self.begin().await?;
            on!(&mut tx, t => sqlx::query(insert).bind(units).execute(&mut **t).await.map(|_| ()))?;
            tx.commit().await
        })
        .await
    }
}

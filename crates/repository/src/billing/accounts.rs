//! Whose periods are to be closed. The tables say so, not the queue: an account names the next period, and late usage of a
//! closed one leaves a mark.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, BillingPeriod, TenantId, billing::DuePeriod};
use uuid::Uuid;

use super::Billing;
use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
    },
    usage::Key,
};

impl Billing<'_> {
    /// At most `limit` accounts of all tenants whose next period began before `before`, in their order, from behind `after` on.
    pub async fn due(
        self,
        before: DateTime<Utc>,
        after: Option<DuePeriod>,
        limit: i64,
    ) -> Result<Vec<DuePeriod>, Error> {
        let text = "
            select next_period, tenant_id, api_key_id from billing_accounts
            where next_period is not null and next_period < $1 and (next_period, tenant_id, api_key_id) > ($2, $3, $4)
            order by next_period, tenant_id, api_key_id limit $5";
        let (start, tenant, key) = after.map_or((DateTime::UNIX_EPOCH, Uuid::nil(), Uuid::nil()), parts_of);
        let rows: Vec<(DateTime<Utc>, Uuid, Uuid)> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(before).bind(start).bind(tenant).bind(key).bind(limit).fetch_all(pool).await)
            })
            .await?;
        Ok(rows.into_iter().map(due_of).collect())
    }

    /// At most `limit` accounts whose next period is that of `first` and `last`, from the one to the other.
    pub async fn due_between(self, first: DuePeriod, last: DuePeriod, limit: i64) -> Result<Vec<DuePeriod>, Error> {
        let text = "
            select next_period, tenant_id, api_key_id from billing_accounts
            where next_period = $1 and (tenant_id, api_key_id) >= ($2, $3) and (tenant_id, api_key_id) <= ($4, $5)
            order by tenant_id, api_key_id limit $6";
        let ((start, tenant, key), (_, last_tenant, last_key)) = (parts_of(first), parts_of(last));
        let rows: Vec<(DateTime<Utc>, Uuid, Uuid)> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(start).bind(tenant).bind(key).bind(last_tenant).bind(last_key).bind(limit)
                    .fetch_all(pool).await)
            })
            .await?;
        Ok(rows.into_iter().map(due_of).collect())
    }

    /// The next period to be closed of a key's account. None: nothing more is to be, or it is of tests.
    pub async fn next_period(self, tenant_id: TenantId, id: ApiKeyId) -> Result<Option<DateTime<Utc>>, Error> {
        let text = "select next_period from billing_accounts where tenant_id = $1 and api_key_id = $2";
        let found: Option<Option<DateTime<Utc>>> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_scalar(text).bind(tenant_id.0).bind(id.0).fetch_optional(pool).await)
            })
            .await?;
        Ok(found.flatten())
    }
}

fn parts_of(due: DuePeriod) -> (DateTime<Utc>, Uuid, Uuid) {
    (due.period_start, due.tenant_id.0, due.api_key_id.0)
}

fn due_of((period_start, tenant, key): (DateTime<Utc>, Uuid, Uuid)) -> DuePeriod {
    DuePeriod { period_start, tenant_id: TenantId(tenant), api_key_id: ApiKeyId(key) }
}

/// Locks the accounts of `keys` that are due for `period` and moves them on, in the order of their ids: two workers that close
/// the same keys wait for each other and never in a circle. Returns those that moved; of others the period is closed.
pub(crate) async fn claim(tx: &mut Tx, keys: &[Key], period: BillingPeriod) -> Result<Vec<Key>, Error> {
    hold(tx, keys).await?;
    let text = Rows {
        head: "update billing_accounts set
                next_period = case when ended_at <= d.period_end then null else d.period_end end
            from (select column1 as tenant_id, column2 as api_key_id, column3 as period_start, column4 as period_end from (",
        width: 4,
        tail: ") v) d
            where billing_accounts.tenant_id = d.tenant_id and billing_accounts.api_key_id = d.api_key_id
                and billing_accounts.next_period = d.period_start
            returning billing_accounts.tenant_id, billing_accounts.api_key_id",
    };
    let mut moved = Vec::with_capacity(keys.len());
    for part in parts(tx, keys) {
        let rows: Vec<(Uuid, Uuid)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0).bind(period.start).bind(period.end);
            }
            query.fetch_all(&mut **t).await?
        });
        moved.extend(rows.into_iter().map(|(tenant, key)| (TenantId(tenant), ApiKeyId(key))));
    }
    moved.sort_unstable();
    Ok(moved)
}

/// Locks the accounts until the transaction ends. SQLite has one writer: its transaction is the lock.
pub(crate) async fn hold(tx: &mut Tx, keys: &[Key]) -> Result<(), Error> {
    let text = Rows {
        head: "select 1 from billing_accounts where (tenant_id, api_key_id) in (",
        width: 2,
        tail: ") order by tenant_id, api_key_id for update",
    };
    for part in parts(tx, keys) {
        if let Tx::Postgres(t) = &mut *tx {
            let mut query = sqlx::query(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0);
            }
            query.execute(&mut **t).await?;
        }
    }
    Ok(())
}

/// Those of these periods that are closed already.
pub(crate) async fn closed(
    tx: &mut Tx,
    periods: &BTreeSet<(Key, DateTime<Utc>)>,
) -> Result<BTreeSet<(Key, DateTime<Utc>)>, Error> {
    let text = Rows {
        head: "select a.tenant_id, a.api_key_id, v.period_start
            from (select column1 as tenant_id, column2 as api_key_id, column3 as period_start from (",
        width: 3,
        tail: ") r) v
            join billing_accounts a on a.tenant_id = v.tenant_id and a.api_key_id = v.api_key_id
            where a.next_period is null or a.next_period > v.period_start",
    };
    let periods: Vec<_> = periods.iter().copied().collect();
    let mut closed = BTreeSet::new();
    for part in parts(tx, &periods) {
        let rows: Vec<(Uuid, Uuid, DateTime<Utc>)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for ((tenant, key), period) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*period);
            }
            query.fetch_all(&mut **t).await?
        });
        closed.extend(rows.into_iter().map(|(tenant, key, start)| ((TenantId(tenant), ApiKeyId(key)), start)));
    }
    Ok(closed)
}

/// Marks those of these periods that are closed already: their units are owed with the next record. Comes before the
/// transaction reads or writes what is billed, and holds the accounts until it ends.
pub(crate) async fn mark_late(tx: &mut Tx, periods: &BTreeSet<(Key, DateTime<Utc>)>) -> Result<(), Error> {
    let mut keys: Vec<Key> = periods.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    hold(tx, &keys).await?;
    let text = Rows {
        head: "insert into billing_due (tenant_id, api_key_id, period_start, waived)
            select a.tenant_id, a.api_key_id, v.period_start, false
            from (select column1 as tenant_id, column2 as api_key_id, column3 as period_start from (",
        width: 3,
        tail: ") r) v
            join billing_accounts a on a.tenant_id = v.tenant_id and a.api_key_id = v.api_key_id
            where a.next_period is null or a.next_period > v.period_start
            on conflict (tenant_id, api_key_id, period_start) do nothing",
    };
    let periods: Vec<_> = periods.iter().copied().collect();
    for part in parts(tx, &periods) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(text.text(part.len()));
            for ((tenant, key), period) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*period);
            }
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

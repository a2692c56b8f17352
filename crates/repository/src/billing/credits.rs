//! Grants of credit, as a closing takes from them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, GrantId, Money, TenantId,
    billing::{close, credit::Grant},
};
use uuid::Uuid;

use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
    },
};

/// Who a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    Key(TenantId, ApiKeyId),
    Owner(TenantId, String),
}

#[derive(sqlx::FromRow)]
struct GrantRow {
    tenant_id: Uuid,
    id: Uuid,
    owner_id: Option<String>,
    api_key_id: Option<Uuid>,
    remaining: i64,
    currency: String,
    priority: i32,
    effective_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

/// What is left of the grants of these keys and their owners. PostgreSQL locks them, in the order of their ids, until the
/// transaction ends; SQLite has one writer.
pub(super) async fn of(
    tx: &mut Tx,
    holders: impl Iterator<Item = &close::Holder>,
) -> Result<HashMap<Holder, Vec<Grant>>, Error> {
    let any = "select exists (select 1 from credit_grants where voided_at is null)";
    let there_are: bool = on!(&mut *tx, t => sqlx::query_scalar(any).fetch_one(&mut **t).await)?;
    if !there_are {
        return Ok(HashMap::new());
    }
    let (mut keys, mut owners) = (Vec::new(), Vec::new());
    for holder in holders {
        keys.push((holder.tenant_id, holder.api_key_id));
        owners.extend(holder.owner_id.clone().map(|owner| (holder.tenant_id, owner)));
    }
    owners.sort_unstable();
    owners.dedup();
    let mut ids: Vec<(Uuid, Uuid)> = Vec::new();
    let by_key = Rows {
        head: "select tenant_id, id from credit_grants where voided_at is null and (tenant_id, api_key_id) in (",
        width: 2,
        tail: ")",
    };
    let by_owner = Rows {
        head: "select tenant_id, id from credit_grants where voided_at is null and (tenant_id, owner_id) in (",
        width: 2,
        tail: ")",
    };
    for part in parts(tx, &keys) {
        ids.extend(on!(&mut *tx, t => {
            let mut query = sqlx::query_as::<_, (Uuid, Uuid)>(by_key.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0);
            }
            query.fetch_all(&mut **t).await?
        }));
    }
    for part in parts(tx, &owners) {
        ids.extend(on!(&mut *tx, t => {
            let mut query = sqlx::query_as::<_, (Uuid, Uuid)>(by_owner.text(part.len()));
            for (tenant, owner) in part {
                query = query.bind(tenant.0).bind(owner.clone());
            }
            query.fetch_all(&mut **t).await?
        }));
    }
    ids.sort_unstable();
    lock(tx, &ids).await?;
    let mut grants: HashMap<Holder, Vec<Grant>> = HashMap::new();
    for row in remaining(tx, &ids).await? {
        let tenant_id = TenantId(row.tenant_id);
        let holder = match (row.owner_id, row.api_key_id) {
            (Some(owner), _) => Holder::Owner(tenant_id, owner),
            (None, Some(key)) => Holder::Key(tenant_id, ApiKeyId(key)),
            (None, None) => continue,
        };
        let currency = row.currency.parse().map_err(|e| Error::Corrupt(format!("credit_grants.currency: {e}")))?;
        grants.entry(holder).or_default().push(Grant {
            id: GrantId(row.id),
            currency,
            remaining: Money(row.remaining),
            priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
            effective_at: row.effective_at,
            expires_at: row.expires_at,
            created_at: row.created_at,
        });
    }
    Ok(grants)
}

async fn lock(tx: &mut Tx, ids: &[(Uuid, Uuid)]) -> Result<(), Error> {
    let text = Rows {
        head: "select 1 from credit_grants where (tenant_id, id) in (",
        width: 2,
        tail: ") order by tenant_id, id for update",
    };
    for part in parts(tx, ids) {
        if let Tx::Postgres(t) = &mut *tx {
            let mut query = sqlx::query(text.text(part.len()));
            for (tenant, id) in part {
                query = query.bind(*tenant).bind(*id);
            }
            query.execute(&mut **t).await?;
        }
    }
    Ok(())
}

async fn remaining(tx: &mut Tx, ids: &[(Uuid, Uuid)]) -> Result<Vec<GrantRow>, Error> {
    let text = Rows {
        head: "select g.tenant_id, g.id, g.owner_id, g.api_key_id, g.currency, g.priority, g.effective_at, g.expires_at,
                g.created_at, g.amount - cast(coalesce((select sum(a.amount) from credit_applications a
                    where a.tenant_id = g.tenant_id and a.grant_id = g.id and a.returned_at is null), 0) as bigint) as remaining
            from credit_grants g where g.voided_at is null and (g.tenant_id, g.id) in (",
        width: 2,
        tail: ")",
    };
    let mut rows = Vec::new();
    for part in parts(tx, ids) {
        rows.extend(on!(&mut *tx, t => {
            let mut query = sqlx::query_as::<_, GrantRow>(text.text(part.len()));
            for (tenant, id) in part {
                query = query.bind(*tenant).bind(*id);
            }
            query.fetch_all(&mut **t).await?
        }));
    }
    Ok(rows)
}

fn holders_of(holder: &close::Holder) -> impl Iterator<Item = Holder> {
    let key = Holder::Key(holder.tenant_id, holder.api_key_id);
    [Some(key), holder.owner_id.clone().map(|owner| Holder::Owner(holder.tenant_id, owner))].into_iter().flatten()
}

/// The grants that may pay for a key: its own and its owner's.
pub(super) fn take(grants: &mut HashMap<Holder, Vec<Grant>>, holder: &close::Holder) -> Vec<Grant> {
    holders_of(holder).filter_map(|of| grants.get(&of)).flatten().cloned().collect()
}

/// Tells the others what is left.
pub(super) fn give_back(grants: &mut HashMap<Holder, Vec<Grant>>, holder: &close::Holder, used: Vec<Grant>) {
    for of in holders_of(holder) {
        for grant in grants.get_mut(&of).into_iter().flatten() {
            if let Some(used) = used.iter().find(|used| used.id == grant.id) {
                grant.remaining = used.remaining;
            }
        }
    }
}

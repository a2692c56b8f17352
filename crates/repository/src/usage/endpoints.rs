//! Units per endpoint, key and day. Callers choose the names, so the number of rows of a key and day is bounded.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, TenantId};
use uuid::Uuid;

use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
    },
    usage::Key,
};

/// Endpoints of a key and day that have their own row.
const MAX_ENDPOINTS: usize = 100;
/// The row of all further endpoints.
pub(crate) const OTHER: &str = "(other)";

type KeyDay = (Key, DateTime<Utc>);
type Row = (KeyDay, String, i64);

/// Updates existing rows. Nearly always these are all, and no other statement is needed.
const UPDATE: Rows = Rows {
    head: "with given (tenant, api_key, on_day, name, units) as (",
    width: 5,
    tail: ") update usage_endpoints set allowed = allowed + given.units from given
        where tenant_id = given.tenant and api_key_id = given.api_key and day = given.on_day and endpoint = given.name
        returning tenant_id, api_key_id, day, endpoint",
};
const INSERT: Rows = Rows {
    head: "insert into usage_endpoints (tenant_id, api_key_id, day, endpoint, allowed)",
    width: 5,
    tail: " on conflict (tenant_id, api_key_id, day, endpoint) do update set
            allowed = usage_endpoints.allowed + excluded.allowed",
};
const COUNT: Rows = Rows {
    head: "select tenant_id, api_key_id, day, count(*) from usage_endpoints where endpoint <> '(other)' and
        (tenant_id, api_key_id, day) in (",
    width: 3,
    tail: ") group by tenant_id, api_key_id, day",
};

/// Adds the units. Two transactions with new names for the same key and day may together
/// exceed the bound by a few rows.
pub(crate) async fn add(tx: &mut Tx, sums: BTreeMap<KeyDay, BTreeMap<String, i64>>) -> Result<(), Error> {
    let named = |(day, endpoints): (KeyDay, BTreeMap<String, i64>)| {
        endpoints.into_iter().map(move |(endpoint, units)| (day, endpoint, units))
    };
    let rows: Vec<Row> = sums.into_iter().flat_map(named).collect();
    let mut new = Vec::new();
    for part in parts(tx, &rows) {
        let known = update(tx, part).await?;
        let is_new = |(day, endpoint, _): &&Row| !known.contains(&(*day, endpoint.clone()));
        if known.len() < part.len() {
            new.extend(part.iter().filter(is_new).cloned());
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let taken = count(tx, &new).await?;
    let bounded = gather_others(new, &taken);
    for part in parts(tx, &bounded) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(INSERT.text(part.len()));
            for (((tenant, key), day), endpoint, units) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*day).bind(endpoint).bind(*units);
            }
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

/// Updates the rows and returns those that existed.
async fn update(tx: &mut Tx, part: &[Row]) -> Result<HashSet<(KeyDay, String)>, Error> {
    let known: Vec<(Uuid, Uuid, DateTime<Utc>, String)> = on!(&mut *tx, t => {
        let mut query = sqlx::query_as(UPDATE.text(part.len()));
        for (((tenant, key), day), endpoint, units) in part {
            query = query.bind(tenant.0).bind(key.0).bind(*day).bind(endpoint).bind(*units);
        }
        query.fetch_all(&mut **t).await?
    });
    Ok(known.into_iter().map(|(tenant, key, day, name)| (((TenantId(tenant), ApiKeyId(key)), day), name)).collect())
}

/// How many rows of their own the days of these rows have.
async fn count(tx: &mut Tx, new: &[Row]) -> Result<HashMap<KeyDay, usize>, Error> {
    let mut days: Vec<KeyDay> = new.iter().map(|(day, ..)| *day).collect();
    days.dedup();
    let mut counts = HashMap::new();
    for part in parts(tx, &days) {
        let found: Vec<(Uuid, Uuid, DateTime<Utc>, i64)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(COUNT.text(part.len()));
            for ((tenant, key), day) in part {
                query = query.bind(tenant.0).bind(key.0).bind(*day);
            }
            query.fetch_all(&mut **t).await?
        });
        let counted = |(tenant, key, day, rows): (Uuid, Uuid, DateTime<Utc>, i64)| {
            (((TenantId(tenant), ApiKeyId(key)), day), usize::try_from(rows).unwrap_or(usize::MAX))
        };
        counts.extend(found.into_iter().map(counted));
    }
    Ok(counts)
}

/// Adds the units of endpoints beyond [`MAX_ENDPOINTS`] to [`OTHER`]. The rows must be sorted by day.
fn gather_others(new: Vec<Row>, taken: &HashMap<KeyDay, usize>) -> Vec<Row> {
    let mut bounded: Vec<Row> = Vec::with_capacity(new.len());
    for of_day in new.chunk_by(|(a, ..), (b, ..)| a == b) {
        let Some((day, ..)) = of_day.first() else { continue };
        let mut room = MAX_ENDPOINTS.saturating_sub(taken.get(day).copied().unwrap_or(0));
        let mut others = 0_i64;
        for (day, endpoint, units) in of_day {
            if endpoint != OTHER && room > 0 {
                room -= 1;
                bounded.push((*day, endpoint.clone(), *units));
            } else {
                others = others.saturating_add(*units);
            }
        }
        if others > 0 {
            bounded.push((*day, OTHER.to_owned(), others));
        }
    }
    bounded
}

//! Adds refusals to their rows. Callers choose the endpoints, so a key, limit and day have a bounded number of rows;
//! further refusals are counted in one row per hour.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKeyId, TenantId,
    period::{day_of, hour_of, minute_of},
    usage::ViolationRow,
};
use uuid::Uuid;

use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
        text::storable,
        time::micros,
    },
    usage::{Key, endpoints::OTHER},
};

/// Rows of a key, limit and day: enough for two of every three minutes at one endpoint, or for
/// a hundred endpoints ten times.
const MAX_ROWS_PER_DAY: usize = 1_000;

/// A key, a limit and a day.
type Day = (Key, String, DateTime<Utc>);
/// The table's primary key.
type Identity = (Key, DateTime<Utc>, String, String);

const UPDATE: Rows = Rows {
    head: "with given (tenant, api_key, at_minute, by_limit, path, ip, refusals, began, ended) as (",
    width: 9,
    tail: ") update violations set
            count = count + given.refusals,
            first_at = case when given.began < first_at then given.began else first_at end,
            ip_address = case when given.ended >= last_at then given.ip else ip_address end,
            last_at = case when given.ended > last_at then given.ended else last_at end
        from given
        where tenant_id = given.tenant and api_key_id = given.api_key and minute = given.at_minute
            and limit_name = given.by_limit and endpoint = given.path
        returning tenant_id, api_key_id, minute, limit_name, endpoint",
};
const INSERT: Rows = Rows {
    head: "insert into violations
        (tenant_id, api_key_id, minute, limit_name, endpoint, ip_address, count, first_at, last_at)",
    width: 9,
    tail: " on conflict (tenant_id, api_key_id, minute, limit_name, endpoint) do update set
            count = violations.count + excluded.count,
            first_at = case when excluded.first_at < violations.first_at
                then excluded.first_at else violations.first_at end,
            ip_address = case when excluded.last_at >= violations.last_at
                then excluded.ip_address else violations.ip_address end,
            last_at = case when excluded.last_at > violations.last_at
                then excluded.last_at else violations.last_at end",
};
const COUNT: Rows = Rows {
    head: "with given (number, tenant, api_key, by_limit, since, until) as (",
    width: 6,
    tail: ") select given.number, (select count(*) from violations
            where tenant_id = given.tenant and api_key_id = given.api_key and limit_name = given.by_limit
                and minute >= given.since and minute < given.until)
        from given",
};

/// Binds a row's nine values to a query.
macro_rules! bound {
    ($query:expr, $row:expr) => {
        $query
            .bind($row.tenant_id.0)
            .bind($row.api_key_id.0)
            .bind($row.minute)
            .bind(&$row.limit_name)
            .bind(&$row.endpoint)
            .bind(&$row.ip_address)
            .bind($row.count)
            .bind($row.first_at)
            .bind($row.last_at)
    };
}

/// Adds the rows. Two transactions with new rows of the same key, limit and day may together
/// exceed the bound by a few rows.
pub(crate) async fn add(tx: &mut Tx, rows: &[ViolationRow]) -> Result<(), Error> {
    let rows = merged(rows.iter().map(stored));
    let mut new = Vec::new();
    for part in parts(tx, &rows) {
        let known = update(tx, part).await?;
        if known.len() < part.len() {
            new.extend(part.iter().filter(|row| !known.contains(&identity(row))).cloned());
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let taken = count(tx, &new).await?;
    for part in parts(tx, &bounded(new, taken)) {
        on!(&mut *tx, t => {
            let query = part.iter().fold(sqlx::query(INSERT.text(part.len())), |query, row| bound!(query, row));
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

/// Updates the rows and returns those that existed.
async fn update(tx: &mut Tx, part: &[ViolationRow]) -> Result<HashSet<Identity>, Error> {
    let known: Vec<(Uuid, Uuid, DateTime<Utc>, String, String)> = on!(&mut *tx, t => {
        let query = part.iter().fold(sqlx::query_as(UPDATE.text(part.len())), |query, row| bound!(query, row));
        query.fetch_all(&mut **t).await?
    });
    let known = known.into_iter();
    Ok(known.map(|(tenant, key, at, name, path)| ((TenantId(tenant), ApiKeyId(key)), at, name, path)).collect())
}

/// How many rows the days of these rows have.
async fn count(tx: &mut Tx, new: &[ViolationRow]) -> Result<HashMap<Day, usize>, Error> {
    let days: HashSet<Day> = new.iter().map(day).collect();
    let days: Vec<(i64, Day)> = (0..).zip(days).collect();
    let mut counts = HashMap::new();
    for part in parts(tx, &days) {
        let found: Vec<(i64, i64)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(COUNT.text(part.len()));
            for (number, ((tenant, key), name, day)) in part {
                query = query.bind(*number).bind(tenant.0).bind(key.0).bind(name);
                query = query.bind(*day).bind(*day + TimeDelta::days(1));
            }
            query.fetch_all(&mut **t).await?
        });
        let found: HashMap<i64, i64> = found.into_iter().collect();
        let counted = |(number, day): &(i64, Day)| {
            let rows = found.get(number).copied().unwrap_or(0);
            (day.clone(), usize::try_from(rows).unwrap_or(usize::MAX))
        };
        counts.extend(part.iter().map(counted));
    }
    Ok(counts)
}

/// Replaces rows for which their day has no room by their hour's row for all endpoints.
fn bounded(new: Vec<ViolationRow>, mut taken: HashMap<Day, usize>) -> Vec<ViolationRow> {
    let bounded = new.into_iter().map(|row| {
        let rows = taken.entry(day(&row)).or_default();
        *rows += 1;
        if *rows <= MAX_ROWS_PER_DAY {
            return row;
        }
        ViolationRow { minute: hour_of(row.minute), endpoint: OTHER.to_owned(), ..row }
    });
    merged(bounded)
}

/// Merges equal rows, in the order of the table's key.
fn merged(rows: impl Iterator<Item = ViolationRow>) -> Vec<ViolationRow> {
    let mut merged: BTreeMap<Identity, ViolationRow> = BTreeMap::new();
    for row in rows {
        merged
            .entry(identity(&row))
            .and_modify(|sum| {
                sum.count = sum.count.saturating_add(row.count);
                sum.first_at = sum.first_at.min(row.first_at);
                if row.last_at >= sum.last_at {
                    sum.last_at = row.last_at;
                    sum.ip_address.clone_from(&row.ip_address);
                }
            })
            .or_insert(row);
    }
    merged.into_values().collect()
}

/// The row with its times and texts in their stored form.
fn stored(row: &ViolationRow) -> ViolationRow {
    ViolationRow {
        minute: minute_of(row.minute),
        limit_name: storable(&row.limit_name),
        endpoint: storable(&row.endpoint),
        ip_address: storable(&row.ip_address),
        first_at: micros(row.first_at),
        last_at: micros(row.last_at),
        ..*row
    }
}

fn identity(row: &ViolationRow) -> Identity {
    ((row.tenant_id, row.api_key_id), row.minute, row.limit_name.clone(), row.endpoint.clone())
}

fn day(row: &ViolationRow) -> Day {
    ((row.tenant_id, row.api_key_id), row.limit_name.clone(), day_of(row.minute))
}

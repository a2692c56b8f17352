//! Adds counts to the usage tables, within the transaction of whoever knows that they are new: a journal batch, or events.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;
use tollgate_domain::{
    ApiKeyId, TenantId,
    usage::{Counts, EndpointRow, UsageRow},
};
use uuid::Uuid;

use crate::{
    Error,
    calendar::{day_of, hour_of, micros, minute_of, month_of},
    database::Tx,
    text::storable,
};

/// Whose key. Every table is written in this order and then by time, so two writers never wait for each other in a circle.
pub(crate) type Key = (TenantId, ApiKeyId);

/// Rows per statement: nine binds each, far below SQLite's 32,766 and PostgreSQL's 65,535.
pub(crate) const CHUNK: usize = 500;
/// Endpoints of a key and day that have a row of their own: callers choose the names, so there may be any number.
const MAX_ENDPOINTS: usize = 100;
/// The row of all further endpoints.
const OTHER: &str = "(other)";

/// What is to be added, each row once and in the order of the tables' keys.
#[derive(Default)]
pub(crate) struct Sums {
    minutes: BTreeMap<(Key, DateTime<Utc>), Counts>,
    periods: BTreeMap<(Key, DateTime<Utc>), (Counts, DateTime<Utc>)>,
    endpoints: BTreeMap<(Key, DateTime<Utc>), BTreeMap<String, i64>>,
}

impl Sums {
    pub(crate) fn add_usage(&mut self, row: &UsageRow) {
        let key = (row.tenant_id, row.api_key_id);
        let minute = minute_of(row.minute);
        self.minutes.entry((key, minute)).or_default().add(&row.counts);
        let last_at = micros(row.last_at);
        let period = self.periods.entry((key, month_of(minute))).or_insert((Counts::default(), last_at));
        period.0.add(&row.counts);
        period.1 = period.1.max(last_at);
    }

    pub(crate) fn add_endpoint(&mut self, row: &EndpointRow) {
        let day = self.endpoints.entry(((row.tenant_id, row.api_key_id), day_of(row.day))).or_default();
        let sum = day.entry(storable(&row.endpoint)).or_default();
        *sum = sum.saturating_add(row.allowed);
    }

    /// Leaves out rows of keys that do not exist (a tenant's data was erased while its usage was under way).
    pub(crate) async fn keep_known(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let keys: BTreeSet<Key> =
            self.minutes.keys().map(|(key, _)| *key).chain(self.endpoints.keys().map(|(key, _)| *key)).collect();
        let known = known_keys(tx, &keys).await?;
        self.minutes.retain(|(key, _), _| known.contains(key));
        self.periods.retain(|(key, _), _| known.contains(key));
        self.endpoints.retain(|(key, _), _| known.contains(key));
        Ok(())
    }

    /// Adds everything. The days are marked first: the mark is the lock that roll-up and clean-up also take.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<(), Error> {
        mark_due(tx, self.days()).await?;
        add_minutes(tx, self.minutes).await?;
        add_periods(tx, self.periods).await?;
        add_endpoints(tx, self.endpoints).await
    }

    fn days(&self) -> Vec<(Key, DateTime<Utc>)> {
        let of_minutes = self.minutes.keys().map(|(key, minute)| (*key, day_of(*minute)));
        let days: BTreeSet<_> = of_minutes.chain(self.endpoints.keys().copied()).collect();
        days.into_iter().collect()
    }
}

/// Those of `keys` that exist, deleted ones included: their usage is still owed. Says so when some do not.
pub(crate) async fn known_keys(tx: &mut Tx, keys: &BTreeSet<Key>) -> Result<BTreeSet<Key>, Error> {
    let asked: Vec<Key> = keys.iter().copied().collect();
    let mut known = BTreeSet::new();
    for chunk in asked.chunks(CHUNK) {
        let rows: Vec<(Uuid, Uuid)> = on!(&mut *tx, t => {
            let mut query = QueryBuilder::new("select tenant_id, id from api_keys where (tenant_id, id) in (");
            query.push_values(chunk, |mut row, (tenant, key)| {
                row.push_bind(tenant.0).push_bind(key.0);
            });
            query.push(")").build_query_as().persistent(false).fetch_all(&mut **t).await?
        });
        known.extend(rows.into_iter().map(|(tenant, key)| (TenantId(tenant), ApiKeyId(key))));
    }
    if known.len() < keys.len() {
        tracing::warn!(keys = keys.len() - known.len(), "rows of keys that do not exist were left out");
    }
    Ok(known)
}

async fn mark_due(tx: &mut Tx, days: Vec<(Key, DateTime<Utc>)>) -> Result<(), Error> {
    for chunk in days.chunks(CHUNK) {
        on!(&mut *tx, t => {
            let mut query = QueryBuilder::new("insert into rollup_due (tenant_id, api_key_id, day) ");
            query.push_values(chunk, |mut row, ((tenant, key), day)| {
                row.push_bind(tenant.0).push_bind(key.0).push_bind(*day);
            });
            // Writes the row even when it is there: `do nothing` would not lock it.
            query.push(" on conflict (tenant_id, api_key_id, day) do update set day = excluded.day");
            query.build().persistent(false).execute(&mut **t).await?;
        });
    }
    Ok(())
}

async fn add_minutes(tx: &mut Tx, rows: BTreeMap<(Key, DateTime<Utc>), Counts>) -> Result<(), Error> {
    let rows: Vec<_> = rows.into_iter().collect();
    for chunk in rows.chunks(CHUNK) {
        on!(&mut *tx, t => {
            let mut query = QueryBuilder::new(
                "insert into usage_minutes (tenant_id, api_key_id, day, hour, minute,
                    allowed, rate_limited, quota_exceeded, rejected) ",
            );
            query.push_values(chunk, |mut row, (((tenant, key), minute), counts)| {
                row.push_bind(tenant.0).push_bind(key.0);
                row.push_bind(day_of(*minute)).push_bind(hour_of(*minute)).push_bind(*minute);
                row.push_bind(counts.allowed).push_bind(counts.rate_limited);
                row.push_bind(counts.quota_exceeded).push_bind(counts.rejected);
            });
            query.push(
                " on conflict (tenant_id, api_key_id, day, minute) do update set
                    allowed = usage_minutes.allowed + excluded.allowed,
                    rate_limited = usage_minutes.rate_limited + excluded.rate_limited,
                    quota_exceeded = usage_minutes.quota_exceeded + excluded.quota_exceeded,
                    rejected = usage_minutes.rejected + excluded.rejected",
            );
            query.build().persistent(false).execute(&mut **t).await?;
        });
    }
    Ok(())
}

async fn add_periods(tx: &mut Tx, rows: BTreeMap<(Key, DateTime<Utc>), (Counts, DateTime<Utc>)>) -> Result<(), Error> {
    let rows: Vec<_> = rows.into_iter().collect();
    for chunk in rows.chunks(CHUNK) {
        on!(&mut *tx, t => {
            let mut query = QueryBuilder::new(
                "insert into usage_periods (tenant_id, api_key_id, period_start,
                    allowed, rate_limited, quota_exceeded, rejected, last_at) ",
            );
            query.push_values(chunk, |mut row, (((tenant, key), period), (counts, last_at))| {
                row.push_bind(tenant.0).push_bind(key.0).push_bind(*period);
                row.push_bind(counts.allowed).push_bind(counts.rate_limited);
                row.push_bind(counts.quota_exceeded).push_bind(counts.rejected).push_bind(*last_at);
            });
            query.push(
                " on conflict (tenant_id, api_key_id, period_start) do update set
                    allowed = usage_periods.allowed + excluded.allowed,
                    rate_limited = usage_periods.rate_limited + excluded.rate_limited,
                    quota_exceeded = usage_periods.quota_exceeded + excluded.quota_exceeded,
                    rejected = usage_periods.rejected + excluded.rejected,
                    last_at = case when excluded.last_at > usage_periods.last_at
                        then excluded.last_at else usage_periods.last_at end",
            );
            query.build().persistent(false).execute(&mut **t).await?;
        });
    }
    Ok(())
}

async fn add_endpoints(
    tx: &mut Tx,
    mut rows: BTreeMap<(Key, DateTime<Utc>), BTreeMap<String, i64>>,
) -> Result<(), Error> {
    let mut stored = stored_endpoints(tx, rows.keys().copied().collect()).await?;
    for (day, endpoints) in &mut rows {
        gather_others(endpoints, &stored.remove(day).unwrap_or_default());
    }
    let rows: Vec<_> = rows
        .iter()
        .flat_map(|(day, endpoints)| endpoints.iter().map(move |(endpoint, allowed)| (day, endpoint, *allowed)))
        .collect();
    for chunk in rows.chunks(CHUNK) {
        on!(&mut *tx, t => {
            let mut query =
                QueryBuilder::new("insert into usage_endpoints (tenant_id, api_key_id, day, endpoint, allowed) ");
            query.push_values(chunk, |mut row, (((tenant, key), day), endpoint, allowed)| {
                row.push_bind(tenant.0).push_bind(key.0).push_bind(*day);
                row.push_bind((*endpoint).clone()).push_bind(*allowed);
            });
            query.push(
                " on conflict (tenant_id, api_key_id, day, endpoint) do update set
                    allowed = usage_endpoints.allowed + excluded.allowed",
            );
            query.build().persistent(false).execute(&mut **t).await?;
        });
    }
    Ok(())
}

/// The endpoints that have rows, per key and day. Nobody adds any meanwhile: the days are marked, so locked.
async fn stored_endpoints(
    tx: &mut Tx,
    days: Vec<(Key, DateTime<Utc>)>,
) -> Result<BTreeMap<(Key, DateTime<Utc>), BTreeSet<String>>, Error> {
    let mut stored: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for chunk in days.chunks(CHUNK) {
        let rows: Vec<(Uuid, Uuid, DateTime<Utc>, String)> = on!(&mut *tx, t => {
            let mut query = QueryBuilder::new(
                "select tenant_id, api_key_id, day, endpoint from usage_endpoints
                 where (tenant_id, api_key_id, day) in (",
            );
            query.push_values(chunk, |mut row, ((tenant, key), day)| {
                row.push_bind(tenant.0).push_bind(key.0).push_bind(*day);
            });
            query.push(")").build_query_as().persistent(false).fetch_all(&mut **t).await?
        });
        for (tenant, key, day, endpoint) in rows {
            stored.entry(((TenantId(tenant), ApiKeyId(key)), day)).or_default().insert(endpoint);
        }
    }
    Ok(stored)
}

/// Moves the counts of endpoints beyond [`MAX_ENDPOINTS`] to [`OTHER`].
fn gather_others(endpoints: &mut BTreeMap<String, i64>, stored: &BTreeSet<String>) {
    let mut room = MAX_ENDPOINTS.saturating_sub(stored.iter().filter(|name| *name != OTHER).count());
    let mut others = 0_i64;
    endpoints.retain(|endpoint, allowed| {
        if endpoint == OTHER || stored.contains(endpoint) {
            return true;
        }
        if room > 0 {
            room -= 1;
            return true;
        }
        others = others.saturating_add(*allowed);
        false
    });
    if others > 0 {
        let sum = endpoints.entry(OTHER.to_owned()).or_default();
        *sum = sum.saturating_add(others);
    }
}

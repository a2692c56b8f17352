//! Which prices a key has from when.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{
    ApiKeyId, BillingPeriod, PlanId, PriceId, TenantId,
    price::{
        PriceVersion, Timeline,
        segment::{Change, starts, timeline},
    },
};
use uuid::Uuid;

use super::PriceHistory;
use crate::{
    Error,
    core::{
        database::Tx,
        json,
        rows::{Rows, parts},
    },
    usage::Key,
};

type PlanKey = (TenantId, PlanId);
type Spans = HashMap<Key, Vec<Change<PlanKey>>>;
type PlanPrices = BTreeMap<PlanKey, Vec<Change<PriceId>>>;

impl PriceHistory<'_> {
    /// The prices of a key, also of a deleted one. No changes: there never was such a key.
    pub async fn of_key(self, tenant_id: TenantId, id: ApiKeyId) -> Result<Timeline, Error> {
        self.0.snapshot(|mut tx| async move { Ok(of_key(&mut tx, tenant_id, id).await) }).await?
    }
}

/// [`PriceHistory::of_key`] as this transaction sees it.
pub(crate) async fn of_key(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId) -> Result<Timeline, Error> {
    let key = (tenant_id, id);
    Ok(of_keys(tx, &[key]).await?.remove(&key).unwrap_or_default())
}

/// The prices of these keys.
pub(crate) async fn of_keys(tx: &mut Tx, keys: &[Key]) -> Result<HashMap<Key, Timeline>, Error> {
    let spans = spans_of(tx, keys).await?;
    let plans: BTreeSet<_> = spans.values().flatten().map(|(_, plan)| *plan).collect();
    let prices = prices_of(tx, &plans).await?;
    let mut known: HashMap<(TenantId, PriceId), PriceVersion> = HashMap::new();
    let mut timelines = HashMap::with_capacity(spans.len());
    for (key, plans) in spans {
        let changes = timeline(&plans, &prices);
        let mut versions = BTreeMap::new();
        for (_, price) in &changes {
            let of = match known.entry((key.0, *price)) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(vacant) => vacant.insert(version(tx, key.0, *price).await?),
            };
            versions.entry(*price).or_insert_with(|| of.clone());
        }
        timelines.insert(key, Timeline { changes, versions });
    }
    Ok(timelines)
}

/// Where the segments of these keys and periods begin, for those whose prices change within the period. For all others there
/// is one, at the period's start.
pub(crate) async fn segment_starts(
    tx: &mut Tx,
    wanted: &BTreeSet<(Key, DateTime<Utc>)>,
) -> Result<HashMap<(Key, DateTime<Utc>), Vec<DateTime<Utc>>>, Error> {
    let Some(oldest) = wanted.iter().map(|(_, period)| *period).min() else { return Ok(HashMap::new()) };
    let mut keys: Vec<Key> = wanted.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    let repriced = repriced_plans(tx, oldest).await?;
    let mut spans = match repriced.is_empty() {
        true => moved_since(tx, &keys, oldest).await?,
        false => spans_of(tx, &keys).await?,
    };
    spans.retain(|_, plans| plans.len() > 1 || plans.iter().any(|(_, plan)| repriced.contains(plan)));
    let plans: BTreeSet<_> = spans.values().flatten().map(|(_, plan)| *plan).collect();
    let prices = prices_of(tx, &plans).await?;
    let changes: HashMap<_, _> = spans.iter().map(|(key, plans)| (*key, timeline(plans, &prices))).collect();
    let found = wanted.iter().filter_map(|(key, period)| {
        let starts = starts(BillingPeriod::containing(*period), changes.get(key)?);
        (starts.len() > 1).then(|| ((*key, *period), starts.into_iter().map(|(start, _)| start).collect()))
    });
    Ok(found.collect())
}

/// Plans whose prices changed after `since`.
async fn repriced_plans(tx: &mut Tx, since: DateTime<Utc>) -> Result<BTreeSet<PlanKey>, Error> {
    let text = "select tenant_id, plan_id from plan_prices where starts_at > $1 and not is_first";
    let rows: Vec<(Uuid, Uuid)> = on!(tx, t => sqlx::query_as(text).bind(since).fetch_all(&mut **t).await)?;
    Ok(rows.into_iter().map(|(tenant, plan)| (TenantId(tenant), PlanId(plan))).collect())
}

/// All spans of those keys that went to another plan after `since`.
async fn moved_since(tx: &mut Tx, keys: &[Key], since: DateTime<Utc>) -> Result<Spans, Error> {
    let text = Rows {
        head: "select tenant_id, api_key_id, starts_at from plan_spans
            where not is_first and (tenant_id, api_key_id) in (",
        width: 2,
        tail: ")",
    };
    let mut moved: Vec<Key> = Vec::new();
    for part in parts(tx, keys) {
        let rows: Vec<(Uuid, Uuid, DateTime<Utc>)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0);
            }
            query.fetch_all(&mut **t).await?
        });
        let late = rows.into_iter().filter(|(.., at)| *at > since);
        moved.extend(late.map(|(tenant, key, _)| (TenantId(tenant), ApiKeyId(key))));
    }
    moved.sort_unstable();
    moved.dedup();
    spans_of(tx, &moved).await
}

async fn spans_of(tx: &mut Tx, keys: &[Key]) -> Result<Spans, Error> {
    let text = Rows {
        head: "select tenant_id, api_key_id, starts_at, plan_id from plan_spans where (tenant_id, api_key_id) in (",
        width: 2,
        tail: ") order by starts_at",
    };
    let mut spans = Spans::new();
    for part in parts(tx, keys) {
        let rows: Vec<(Uuid, Uuid, DateTime<Utc>, Uuid)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0);
            }
            query.fetch_all(&mut **t).await?
        });
        for (tenant, key, starts_at, plan) in rows {
            let of_key = spans.entry((TenantId(tenant), ApiKeyId(key))).or_default();
            of_key.push((starts_at, (TenantId(tenant), PlanId(plan))));
        }
    }
    Ok(spans)
}

async fn prices_of(tx: &mut Tx, plans: &BTreeSet<PlanKey>) -> Result<PlanPrices, Error> {
    let text = "select starts_at, price_id from plan_prices where tenant_id = $1 and plan_id = $2 order by starts_at";
    let mut prices = PlanPrices::new();
    for plan in plans {
        let rows: Vec<(DateTime<Utc>, Uuid)> = on!(&mut *tx, t =>
            sqlx::query_as(text).bind(plan.0.0).bind(plan.1.0).fetch_all(&mut **t).await)?;
        prices.insert(*plan, rows.into_iter().map(|(at, price)| (at, PriceId(price))).collect());
    }
    Ok(prices)
}

async fn version(tx: &mut Tx, tenant_id: TenantId, id: PriceId) -> Result<PriceVersion, Error> {
    let text = "
        select p.name, v.terms from prices v join plans p on p.tenant_id = v.tenant_id and p.id = v.plan_id
        where v.tenant_id = $1 and v.id = $2";
    let row: Option<(String, Json<Value>)> =
        on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    let (plan_name, terms) = row.ok_or_else(|| Error::Corrupt(format!("plan_prices.price_id: no price {id}")))?;
    Ok(PriceVersion { plan_name, terms: json::read_object(terms, "prices.terms")? })
}

//! Usage that other systems metered. The sender gives each event an id, so that an event sent twice counts once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sqlx::QueryBuilder;
use tollgate_domain::{
    ApiKeyId, TenantId, UsageEvent,
    period::{day_of, minute_of},
    usage::{Counts, EndpointUsage, KeyUsage, MinuteUsage},
};

use super::Usage;
use crate::{
    Error,
    core::{database::Tx, time::micros},
    usage::upsert::Additions,
};

/// Rows per statement: six binds each, far below SQLite's 32,766.
const CHUNK: usize = 500;

impl Usage<'_> {
    /// Counts the events whose ids are new, in one transaction. For each event in order: true when it was counted
    /// now; false when its id was counted before or occurs earlier in the call. [`Error::Conflict`], with nothing
    /// counted, when a key does not exist.
    pub async fn insert_events(self, tenant_id: TenantId, events: &[UsageEvent]) -> Result<Vec<bool>, Error> {
        // In the order of the ids, so that two calls with the same ids lock them in the same order.
        // Of repeats, the first counts.
        let mut first = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            first.entry(event.id.as_str()).or_insert((index, event));
        }
        let (first, distinct) = (&first, &first.values().map(|(_, event)| *event).collect::<Vec<_>>());
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                if !all_known(&mut tx, tenant_id, distinct).await? {
                    return Err(Error::Conflict);
                }
                let inserted = insert(&mut tx, tenant_id, distinct).await?;
                let mut additions = Additions::default();
                for event in distinct.iter().filter(|event| inserted.contains(&event.id)) {
                    additions.add(&usage_of(tenant_id, event));
                }
                additions.write(&mut tx).await?;
                tx.commit().await?;
                let counted = |(index, event): (usize, &UsageEvent)| {
                    inserted.contains(&event.id) && first.get(event.id.as_str()).is_some_and(|(at, _)| *at == index)
                };
                Ok(events.iter().enumerate().map(counted).collect())
            })
            .await
    }
}

/// Whether the tenant has every key that the events name. Deleted keys count, because their usage is still owed.
async fn all_known(tx: &mut Tx, tenant_id: TenantId, events: &[&UsageEvent]) -> Result<bool, Error> {
    let keys: BTreeSet<ApiKeyId> = events.iter().map(|event| event.api_key_id).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let mut known = 0;
    for chunk in keys.chunks(CHUNK) {
        known += on!(&mut *tx, t => {
            let mut query = QueryBuilder::new("select count(*) from api_keys where tenant_id = ");
            query.push_bind(tenant_id.0).push(" and id in (");
            let mut ids = query.separated(", ");
            for id in chunk {
                ids.push_bind(id.0);
            }
            query.push(")");
            query.build_query_scalar::<i64>().persistent(false).fetch_one(&mut **t).await?
        });
    }
    Ok(usize::try_from(known) == Ok(keys.len()))
}

/// Returns the ids that did not exist.
async fn insert(tx: &mut Tx, tenant_id: TenantId, events: &[&UsageEvent]) -> Result<BTreeSet<String>, Error> {
    let mut inserted = BTreeSet::new();
    for chunk in events.chunks(CHUNK) {
        let ids: Vec<String> = on!(&mut *tx, t => {
            let mut query =
                QueryBuilder::new("insert into usage_events (tenant_id, id, api_key_id, at, units, endpoint) ");
            query.push_values(chunk, |mut row, event| {
                row.push_bind(tenant_id.0).push_bind(event.id.clone()).push_bind(event.api_key_id.0);
                row.push_bind(micros(event.at)).push_bind(event.units).push_bind(event.endpoint.clone());
            });
            query.push(" on conflict (tenant_id, id) do nothing returning id");
            query.build_query_scalar().persistent(false).fetch_all(&mut **t).await?
        });
        inserted.extend(ids);
    }
    Ok(inserted)
}

fn usage_of(tenant_id: TenantId, event: &UsageEvent) -> KeyUsage {
    let counts = Counts { allowed: event.units, ..Counts::default() };
    let endpoint = |endpoint: &String| EndpointUsage {
        day: day_of(event.at),
        endpoint: Arc::from(endpoint.as_str()),
        allowed: event.units,
    };
    KeyUsage {
        tenant_id,
        api_key_id: event.api_key_id,
        minutes: vec![MinuteUsage { minute: minute_of(event.at), counts, last_at: event.at }],
        endpoints: event.endpoint.iter().map(endpoint).collect(),
    }
}

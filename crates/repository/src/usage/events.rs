//! Usage that other systems metered. The sender gives each event an id, so that an event sent twice counts once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;
use tollgate_domain::{
    ApiKeyId, EventOutcome, EventResult, TenantId, UsageEvent,
    period::{day_of, minute_of, month_of},
    usage::{Counts, EndpointUsage, KeyUsage, MinuteUsage},
};
use uuid::Uuid;

use super::Usage;
use crate::{
    Error,
    billing::accounts,
    core::{
        database::Tx,
        rows::{Rows, parts},
        time::micros,
    },
    usage::upsert::Additions,
};

/// Rows per statement: eight binds each, far below SQLite's 32,766.
const CHUNK: usize = 500;

/// Source and id, which together name one event of a tenant.
type Identity = (String, String);

/// The event that was counted under an identity.
struct Counted {
    /// None: from before hashes were kept.
    payload_hash: Option<Vec<u8>>,
    api_key_id: ApiKeyId,
    at: DateTime<Utc>,
}

/// What was counted under the identities of a call's events.
struct Known {
    counted: BTreeMap<Identity, Counted>,
    /// Those of their keys' periods that are closed.
    closed: BTreeSet<(ApiKeyId, DateTime<Utc>)>,
}

impl Usage<'_> {
    /// Counts the events whose identities are new, in one transaction, and says for each in order what became of it. Of
    /// those that occur several times in the call, the first counts. [`Error::Conflict`], with nothing counted, when a
    /// key does not exist.
    pub async fn insert_events(
        self,
        tenant_id: TenantId,
        events: &[UsageEvent],
        now: DateTime<Utc>,
    ) -> Result<Vec<EventOutcome>, Error> {
        // In the order of their identities, so that two calls with the same events lock them in the same order.
        let mut first = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            first.entry((event.source.as_str(), event.id.as_str())).or_insert((index, event));
        }
        let (first, distinct) = (&first, &first.values().map(|(_, event)| *event).collect::<Vec<_>>());
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                if !all_known(&mut tx, tenant_id, distinct).await? {
                    return Err(Error::Conflict);
                }
                let inserted = insert(&mut tx, tenant_id, distinct).await?;
                let is_new = |event: &UsageEvent| inserted.contains(&identity(event));
                let mut additions = Additions::default();
                for event in distinct.iter().filter(|event| is_new(event)) {
                    additions.add_event(&usage_of(tenant_id, event));
                }
                additions.write(&mut tx, now).await?;
                let mut counted = stored(&mut tx, tenant_id, distinct.iter().copied().filter(|e| !is_new(e))).await?;
                for event in distinct.iter().filter(|event| is_new(event)) {
                    counted.insert(identity(event), Counted::from(*event));
                }
                let known = Known::of(&mut tx, tenant_id, counted, now).await?;
                tx.commit().await?;
                let outcome = |(index, event): (usize, &UsageEvent)| {
                    let is_first = first.get(&(event.source.as_str(), event.id.as_str())).is_some_and(|f| f.0 == index);
                    match known.repeat(event) {
                        Some(now) if is_first && is_new(event) => EventOutcome { result: EventResult::Accepted, ..now },
                        Some(before) => before,
                        // One that retention deletes at this moment is older than any that is sent: it was another.
                        None => EventOutcome { result: EventResult::Conflict, period_closed: false },
                    }
                };
                Ok(events.iter().enumerate().map(outcome).collect())
            })
            .await
    }

    /// Which of the events were counted before, in their order. Counts nothing.
    pub async fn repeated_events(
        self,
        tenant_id: TenantId,
        events: &[UsageEvent],
        now: DateTime<Utc>,
    ) -> Result<Vec<Option<EventOutcome>>, Error> {
        let mut tx = self.0.begin_snapshot().await?;
        let counted = stored(&mut tx, tenant_id, events.iter()).await?;
        let known = Known::of(&mut tx, tenant_id, counted, now).await?;
        Ok(events.iter().map(|event| known.repeat(event)).collect())
    }
}

impl Known {
    async fn of(
        tx: &mut Tx,
        tenant_id: TenantId,
        counted: BTreeMap<Identity, Counted>,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let periods = counted.values().map(|event| ((tenant_id, event.api_key_id), month_of(event.at)));
        let past = periods.filter(|(_, period)| *period < month_of(now)).collect();
        let closed = accounts::closed(tx, &past).await?.into_iter().map(|((_, key), period)| (key, period)).collect();
        Ok(Self { counted, closed })
    }

    /// `event` as a duplicate. None when nothing was counted under its identity, or another event.
    fn repeat(&self, event: &UsageEvent) -> Option<EventOutcome> {
        let Counted { payload_hash, api_key_id, at } = self.counted.get(&identity(event))?;
        let is_same = payload_hash.as_ref().is_none_or(|hash| *hash == event.payload_hash);
        let period_closed = self.closed.contains(&(*api_key_id, month_of(*at)));
        is_same.then_some(EventOutcome { result: EventResult::Duplicate, period_closed })
    }
}

impl From<&UsageEvent> for Counted {
    fn from(event: &UsageEvent) -> Self {
        Self { payload_hash: Some(event.payload_hash.to_vec()), api_key_id: event.api_key_id, at: event.at }
    }
}

fn identity(event: &UsageEvent) -> Identity {
    (event.source.clone(), event.id.clone())
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

/// Returns the identities that did not exist. Waits for another call that is about to count one of them.
async fn insert(tx: &mut Tx, tenant_id: TenantId, events: &[&UsageEvent]) -> Result<BTreeSet<Identity>, Error> {
    let mut inserted = BTreeSet::new();
    for chunk in events.chunks(CHUNK) {
        let identities: Vec<Identity> = on!(&mut *tx, t => {
            let mut query = QueryBuilder::new(
                "insert into usage_events (tenant_id, source, id, api_key_id, at, units, endpoint, payload_hash) ",
            );
            query.push_values(chunk, |mut row, event| {
                row.push_bind(tenant_id.0).push_bind(event.source.clone()).push_bind(event.id.clone());
                row.push_bind(event.api_key_id.0).push_bind(micros(event.at)).push_bind(event.units);
                row.push_bind(event.endpoint.clone()).push_bind(event.payload_hash.to_vec());
            });
            query.push(" on conflict (tenant_id, source, id) do nothing returning source, id");
            query.build_query_as().persistent(false).fetch_all(&mut **t).await?
        });
        inserted.extend(identities);
    }
    Ok(inserted)
}

/// What is stored under the identities of the events.
async fn stored(
    tx: &mut Tx,
    tenant_id: TenantId,
    events: impl Iterator<Item = &UsageEvent>,
) -> Result<BTreeMap<Identity, Counted>, Error> {
    type Row = (String, String, Option<Vec<u8>>, Uuid, DateTime<Utc>);
    let text = Rows {
        // A join, because SQLite would read the whole table for `in`.
        head: "select e.source, e.id, e.payload_hash, e.api_key_id, e.at
            from (select column1 as tenant_id, column2 as source, column3 as id from (",
        width: 3,
        tail: ") r) v join usage_events e on e.tenant_id = v.tenant_id and e.source = v.source and e.id = v.id",
    };
    let events: Vec<_> = events.collect();
    let mut counted = BTreeMap::new();
    for part in parts(tx, &events) {
        let rows: Vec<Row> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for event in part {
                query = query.bind(tenant_id.0).bind(&event.source).bind(&event.id);
            }
            query.fetch_all(&mut **t).await?
        });
        counted.extend(rows.into_iter().map(|(source, id, payload_hash, key, at)| {
            ((source, id), Counted { payload_hash, api_key_id: ApiKeyId(key), at })
        }));
    }
    Ok(counted)
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

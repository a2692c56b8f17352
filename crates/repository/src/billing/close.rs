//! Closing a period of many keys in one transaction. Who loses a race, repeats a call or dies in it changes nothing: an account
//! moves on in the transaction that writes the record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Environment, Money, PriceId, RecordId, TenantId,
    billing::{
        Record,
        close::{Closed, Closing, Holder, Late},
        credit::Grant,
    },
    price::{
        Bill, LineKind, Timeline, TooLarge,
        bill::add_units,
        segment::{Change, Lifetime},
    },
};
use uuid::Uuid;

use super::{Billing, accounts, credits, period, write};
use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
    },
    prices,
    usage::Key,
};

/// How a period is closed.
#[derive(Clone, Copy, Debug)]
pub struct CloseTerms {
    /// The month.
    pub period: BillingPeriod,
    /// From its end until it is closed.
    pub grace: TimeDelta,
    /// From then until it is to be paid.
    pub due_after: TimeDelta,
    /// Whether all usage of it is known.
    pub complete: bool,
    /// When this happens.
    pub now: DateTime<Utc>,
}

/// A key whose period could not be closed: an amount is too large to be counted.
#[derive(Clone, Debug)]
pub struct Unbillable {
    /// Whose key.
    pub tenant_id: TenantId,
    /// Which key.
    pub api_key_id: ApiKeyId,
}

/// What closing some keys came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Records written.
    pub records: usize,
    /// Keys that owe nothing and have used nothing: their accounts moved on, too.
    pub without: usize,
    /// Keys that stay open.
    pub unbillable: Vec<Unbillable>,
}

impl Billing<'_> {
    /// Closes the period of those of `keys` that have it next, and stores what they owe. All that they used must be in the
    /// tables: see [`crate::Usage::fold`].
    pub async fn close(self, keys: &[(TenantId, ApiKeyId)], terms: CloseTerms) -> Result<Outcome, Error> {
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut unbillable: BTreeSet<Key> = BTreeSet::new();
        loop {
            let keys: Vec<Key> = sorted.iter().copied().filter(|key| !unbillable.contains(key)).collect();
            let closed = self.0.write(|| async {
                let mut tx = self.0.begin().await?;
                let closed = close(&mut tx, &keys, terms).await?;
                if closed.unbillable.is_empty() {
                    tx.commit().await?;
                }
                Ok(closed)
            });
            let mut closed = closed.await?;
            if closed.unbillable.is_empty() {
                let left = |(tenant_id, api_key_id)| Unbillable { tenant_id, api_key_id };
                closed.unbillable = unbillable.into_iter().map(left).collect();
                return Ok(closed);
            }
            // Rolled back: the others are closed without them.
            unbillable.extend(closed.unbillable.iter().map(|left| (left.tenant_id, left.api_key_id)));
        }
    }
}

async fn close(tx: &mut Tx, keys: &[Key], terms: CloseTerms) -> Result<Outcome, Error> {
    let claimed = accounts::claim(tx, keys, terms.period).await?;
    let keys = Keys::read(tx, &claimed, terms.period).await?;
    let marks = marks(tx, &keys).await?;
    let late = late(tx, &marks).await?;
    let mut grants = credits::of(tx, keys.holders.values().map(|(holder, _)| holder)).await?;
    let (mut outcome, mut closed) = (Outcome::default(), Vec::new());
    for (key, (holder, _)) in &keys.holders {
        match keys.close(key, 1, &late, &mut grants, terms) {
            Ok(Some(record)) if !record.is_empty() => closed.push((holder.tenant_id, record)),
            Ok(_) => outcome.without += 1,
            Err(TooLarge) => outcome.unbillable.push(Unbillable { tenant_id: key.0, api_key_id: key.1 }),
        }
    }
    outcome.records = closed.len();
    write::records(tx, &closed, terms.now).await?;
    let billed: BTreeSet<_> = closed.iter().map(|(tenant, closed)| (*tenant, closed.record.api_key_id)).collect();
    forget_marks(tx, late.keys().copied().filter(|(key, _)| billed.contains(key))).await?;
    Ok(outcome)
}

/// Closes the period of a record that was just taken back again, with the present figures. What it corrected is corrected anew.
/// None: nothing is owed.
pub(super) async fn again(tx: &mut Tx, key: Key, void: &Record, terms: CloseTerms) -> Result<Option<RecordId>, Error> {
    let keys = Keys::read(tx, &[key], void.period).await?;
    let mut periods: BTreeSet<_> = marks(tx, &keys).await?.into_iter().collect();
    periods.extend(corrected_by(tx, key.0, void).await?.into_iter().map(|start| (key, start)));
    // What came late for the period itself is part of its bill.
    periods.remove(&(key, void.period.start));
    let late = late(tx, &periods.into_iter().collect::<Vec<_>>()).await?;
    let mut grants = credits::of(tx, keys.holders.values().map(|(holder, _)| holder)).await?;
    let closed = keys.close(&key, void.revision + 1, &late, &mut grants, terms);
    let closed = closed.map_err(|error| Error::Corrupt(error.to_string()))?;
    let Some(closed) = closed.filter(|closed| !closed.is_empty()) else { return Ok(None) };
    let id = closed.record.id;
    write::records(tx, &[(key.0, closed)], terms.now).await?;
    forget_marks(tx, late.into_keys().chain([(key, void.period.start)])).await?;
    Ok(Some(id))
}

/// Earlier periods that a record bills units of.
pub(super) async fn corrected_by(tx: &mut Tx, tenant: TenantId, record: &Record) -> Result<Vec<DateTime<Utc>>, Error> {
    let text = "
        select distinct period_start from billing_units
        where tenant_id = $1 and record_id = $2 and period_start <> $3";
    Ok(on!(tx, t => sqlx::query_scalar(text)
        .bind(tenant.0).bind(record.id.0).bind(record.period.start).fetch_all(&mut **t).await)?)
}

/// All that the bills of some keys are made of.
struct Keys {
    holders: BTreeMap<Key, (Holder, Lifetime)>,
    timelines: HashMap<Key, Timeline>,
    units: HashMap<Key, Vec<Change<u64>>>,
}

impl Keys {
    async fn read(tx: &mut Tx, keys: &[Key], period: BillingPeriod) -> Result<Self, Error> {
        Ok(Self {
            holders: holders(tx, keys).await?,
            timelines: prices::of_keys(tx, keys).await?,
            units: units(tx, keys, period.start).await?,
        })
    }

    fn bill(
        &self,
        key: &Key,
        lifetime: Lifetime,
        period: BillingPeriod,
        units: &[Change<u64>],
    ) -> Result<Option<Bill>, TooLarge> {
        self.timelines.get(key).map_or(Ok(None), |timeline| timeline.bill(period, lifetime, units))
    }

    fn close(
        &self,
        key: &Key,
        revision: u32,
        late: &HashMap<(Key, DateTime<Utc>), LateUsage>,
        grants: &mut HashMap<credits::Holder, Vec<Grant>>,
        terms: CloseTerms,
    ) -> Result<Option<Closed>, TooLarge> {
        let Some((holder, lifetime)) = self.holders.get(key) else { return Ok(None) };
        let (units, lifetime) = (self.units.get(key).map(Vec::as_slice).unwrap_or_default(), *lifetime);
        let Some(mut bill) = self.bill(key, lifetime, terms.period, units)? else { return Ok(None) };
        if lifetime.to.is_some_and(|end| end <= terms.period.start) {
            // Billed no more: a record is written only for what came late.
            bill.segments.iter_mut().for_each(|segment| segment.lines.clear());
        }
        let mut corrected = Vec::new();
        for ((of, start), usage) in late.iter().filter(|((of, _), _)| of == key) {
            let period = BillingPeriod::containing(*start);
            if let Some(mut bill) = self.bill(of, lifetime, period, &usage.units)? {
                if lifetime.from >= period.end {
                    // Usage of a month before the key was made: its units are owed, and no base.
                    let lines = bill.segments.iter_mut().map(|segment| &mut segment.lines);
                    lines.for_each(|lines| lines.retain(|line| line.kind != LineKind::Base));
                }
                corrected.push(Late { period, bill, record_id: usage.record_id, billed: usage.billed.clone() });
            }
        }
        corrected.sort_by_key(|late| late.period.start);
        let mut own = credits::take(grants, holder);
        let closed_at = terms.period.end + terms.grace;
        let closed = Closing {
            holder,
            period: terms.period,
            bill: &bill,
            revision,
            late: &corrected,
            grants: &mut own,
            complete: terms.complete,
            closed_at,
            due_at: closed_at + terms.due_after,
        }
        .close();
        credits::give_back(grants, holder, own);
        closed.map(Some)
    }
}

#[derive(sqlx::FromRow)]
struct HolderRow {
    tenant_id: Uuid,
    id: Uuid,
    name: String,
    owner_id: Option<String>,
    environment: String,
    #[sqlx(flatten)]
    lifetime: period::LifetimeRow,
}

async fn holders(tx: &mut Tx, keys: &[Key]) -> Result<BTreeMap<Key, (Holder, Lifetime)>, Error> {
    let text = Rows {
        head: "select k.tenant_id, k.id, k.name, k.owner_id, k.environment, k.created_at, k.expires_at, k.deleted_at, a.ended_at
            from api_keys k left join billing_accounts a on a.tenant_id = k.tenant_id and a.api_key_id = k.id
            where (k.tenant_id, k.id) in (",
        width: 2,
        tail: ")",
    };
    let mut holders = BTreeMap::new();
    for part in parts(tx, keys) {
        let rows: Vec<HolderRow> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0);
            }
            query.fetch_all(&mut **t).await?
        });
        for row in rows {
            let environment = Environment::ALL.into_iter().find(|known| known.as_str() == row.environment);
            let holder = Holder {
                tenant_id: TenantId(row.tenant_id),
                api_key_id: ApiKeyId(row.id),
                name: row.name,
                owner_id: row.owner_id,
                environment: environment.ok_or_else(|| Error::Corrupt("api_keys.environment".into()))?,
            };
            holders.insert((holder.tenant_id, holder.api_key_id), (holder, row.lifetime.into()));
        }
    }
    Ok(holders)
}

async fn units(tx: &mut Tx, keys: &[Key], start: DateTime<Utc>) -> Result<HashMap<Key, Vec<Change<u64>>>, Error> {
    let text = Rows {
        head: "select tenant_id, api_key_id, starts_at, units from usage_segments
            where (tenant_id, api_key_id, period_start) in (",
        width: 3,
        tail: ")",
    };
    let mut found: HashMap<Key, Vec<Change<u64>>> = HashMap::new();
    for part in parts(tx, keys) {
        let rows: Vec<(Uuid, Uuid, DateTime<Utc>, i64)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0).bind(start);
            }
            query.fetch_all(&mut **t).await?
        });
        for (tenant, key, at, units) in rows {
            let sums = found.entry((TenantId(tenant), ApiKeyId(key))).or_default();
            add_units(sums, at, u64::try_from(units).unwrap_or(0));
        }
    }
    Ok(found)
}

/// An earlier period with late usage.
struct LateUsage {
    units: Vec<Change<u64>>,
    record_id: Option<RecordId>,
    billed: BTreeMap<PriceId, (Money, u64)>,
}

/// The marks of these keys, but those that are waived.
async fn marks(tx: &mut Tx, keys: &Keys) -> Result<Vec<(Key, DateTime<Utc>)>, Error> {
    let text = Rows {
        head: "select tenant_id, api_key_id, period_start from billing_due
            where not waived and (tenant_id, api_key_id) in (",
        width: 2,
        tail: ")",
    };
    let (all, mut marks): (Vec<Key>, Vec<(Key, DateTime<Utc>)>) = (keys.holders.keys().copied().collect(), Vec::new());
    for part in parts(tx, &all) {
        let rows: Vec<(Uuid, Uuid, DateTime<Utc>)> = on!(&mut *tx, t => {
            let mut query = sqlx::query_as(text.text(part.len()));
            for (tenant, key) in part {
                query = query.bind(tenant.0).bind(key.0);
            }
            query.fetch_all(&mut **t).await?
        });
        marks.extend(rows.into_iter().map(|(tenant, key, start)| ((TenantId(tenant), ApiKeyId(key)), start)));
    }
    Ok(marks)
}

async fn late(
    tx: &mut Tx,
    periods: &[(Key, DateTime<Utc>)],
) -> Result<HashMap<(Key, DateTime<Utc>), LateUsage>, Error> {
    let mut found = HashMap::new();
    for (key, start) in periods.iter().copied() {
        let units = units(tx, &[key], start).await?.remove(&key).unwrap_or_default();
        let (record_id, billed) = billed(tx, key, start).await?;
        found.insert((key, start), LateUsage { units, record_id, billed });
    }
    Ok(found)
}

/// The record of a period that counts, and what it and later corrections bill for it.
async fn billed(
    tx: &mut Tx,
    (tenant_id, id): Key,
    start: DateTime<Utc>,
) -> Result<(Option<RecordId>, BTreeMap<PriceId, (Money, u64)>), Error> {
    let record = "
        select id from billing_records
        where tenant_id = $1 and api_key_id = $2 and period_start = $3 and status <> 'void'";
    let sums = "
        select u.price_id, cast(sum(u.amount) as bigint), cast(sum(u.units) as bigint)
        from billing_records r join billing_units u on u.tenant_id = r.tenant_id and u.record_id = r.id
        where r.tenant_id = $1 and r.api_key_id = $2 and r.status <> 'void' and u.period_start = $3
        group by u.price_id";
    on!(tx, t => {
        let record: Option<Uuid> = sqlx::query_scalar(record)
            .bind(tenant_id.0).bind(id.0).bind(start).fetch_optional(&mut **t).await?;
        let sums: Vec<(Uuid, i64, i64)> = sqlx::query_as(sums)
            .bind(tenant_id.0).bind(id.0).bind(start).fetch_all(&mut **t).await?;
        let sums = sums.into_iter().map(|(price, amount, units)| {
            (PriceId(price), (Money(amount), u64::try_from(units).unwrap_or(0)))
        });
        Ok((record.map(RecordId), sums.collect()))
    })
}

async fn forget_marks(tx: &mut Tx, marks: impl Iterator<Item = (Key, DateTime<Utc>)>) -> Result<(), Error> {
    let text = "delete from billing_due where tenant_id = $1 and api_key_id = $2 and period_start = $3 and not waived";
    for ((tenant, key), start) in marks {
        on!(&mut *tx, t => sqlx::query(text)
            .bind(tenant.0).bind(key.0).bind(start).execute(&mut **t).await.map(|_| ()))?;
    }
    Ok(())
}

//! Refused requests, summed in memory for a moment before they go to the journal, because an attack must
//! not write a record or a row per refusal. A refusal is never billed, so a killed process may lose those
//! since the shipper last took them.

use std::{
    hash::RandomState,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use hashbrown::{Equivalent, HashMap};
use tollgate_domain::{ApiKeyId, TenantId, network::truncated, period::minutes_since_epoch};

use crate::metering::event::{Event, Refusal};

/// Sums of one key between two drains, about a second apart; further endpoints are summed as one. Callers choose the
/// names, so without a bound each could write any number of records and rows.
const MAX_SUMS_PER_KEY: u16 = 100;
/// Sums of all keys, some 200 bytes each. Above this, the endpoints of every key are summed as one.
const MAX_SUMS: usize = 200_000;
/// The name for endpoints beyond the bounds.
pub(crate) const OTHER: &str = "(other)";

/// What the refusals of one sum have in common.
#[derive(PartialEq, Eq, Hash)]
struct RefusalKey {
    tenant_id: TenantId,
    api_key_id: ApiKeyId,
    minute: i64,
    refusal: Refusal,
    limit_name: Box<str>,
    endpoint: Box<str>,
}

/// A borrowed [`RefusalKey`], to search without allocating.
#[derive(Hash)]
struct RefusalKeyRef<'a> {
    tenant_id: TenantId,
    api_key_id: ApiKeyId,
    minute: i64,
    refusal: Refusal,
    limit_name: &'a str,
    endpoint: &'a str,
}

impl Equivalent<RefusalKey> for RefusalKeyRef<'_> {
    fn equivalent(&self, key: &RefusalKey) -> bool {
        self.api_key_id == key.api_key_id
            && self.tenant_id == key.tenant_id
            && self.minute == key.minute
            && self.refusal == key.refusal
            && *self.limit_name == *key.limit_name
            && *self.endpoint == *key.endpoint
    }
}

impl From<&RefusalKeyRef<'_>> for RefusalKey {
    fn from(key: &RefusalKeyRef<'_>) -> Self {
        Self {
            tenant_id: key.tenant_id,
            api_key_id: key.api_key_id,
            minute: key.minute,
            refusal: key.refusal,
            limit_name: key.limit_name.into(),
            endpoint: key.endpoint.into(),
        }
    }
}

struct Sum {
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    count: u32,
    units: u64,
    ip: Option<IpAddr>,
}

/// One refused request.
pub(crate) struct Refused<'a> {
    pub(crate) tenant_id: TenantId,
    pub(crate) api_key_id: ApiKeyId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) units: u32,
    pub(crate) refusal: Refusal,
    pub(crate) limit_name: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) ip: Option<IpAddr>,
}

/// The sums of one node since they were last drained.
pub(crate) struct Refusals {
    sums: Mutex<Sums>,
    /// Whether whole addresses are kept, or only their networks.
    full_ip: bool,
}

#[derive(Default)]
struct Sums {
    /// Callers choose the endpoints, so the hash is keyed and they cannot choose which collide.
    by_key: HashMap<RefusalKey, Sum, RandomState>,
    of_api_key: HashMap<(TenantId, ApiKeyId), u16>,
}

impl Refusals {
    pub(crate) fn new(full_ip: bool) -> Self {
        Self { sums: Mutex::default(), full_ip }
    }

    pub(crate) fn add(&self, refused: &Refused<'_>) {
        let ip = refused.ip.map(|ip| if self.full_ip { ip.to_canonical() } else { truncated(ip) });
        self.lock().add(refused, ip);
    }

    /// Passes each sum to `write`, and puts back those that it could not write.
    pub(crate) fn drain<E>(&self, mut write: impl FnMut(&Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut sums = std::mem::take(&mut *self.lock());
        let mut result = Ok(());
        sums.by_key.retain(|key, sum| {
            if result.is_err() {
                return true;
            }
            let ip_address = sum.ip.map(|ip| ip.to_string()).unwrap_or_default();
            result = write(&Event::Refused {
                tenant_id: key.tenant_id,
                api_key_id: key.api_key_id,
                first_at: sum.first_at,
                last_at: sum.last_at,
                count: sum.count,
                units: sum.units,
                refusal: key.refusal,
                limit_name: &key.limit_name,
                endpoint: &key.endpoint,
                ip_address: &ip_address,
            });
            result.is_err()
        });
        if !sums.by_key.is_empty() {
            self.lock().put_back(sums);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    fn add(&mut self, refused: &Refused<'_>, ip: Option<IpAddr>) {
        let sought = |endpoint| RefusalKeyRef {
            tenant_id: refused.tenant_id,
            api_key_id: refused.api_key_id,
            minute: minutes_since_epoch(refused.at),
            refusal: refused.refusal,
            limit_name: refused.limit_name,
            endpoint,
        };
        if let Some(sum) = self.by_key.get_mut(&sought(refused.endpoint)) {
            return sum.add(refused, ip);
        }
        let of_key = self.of_api_key.entry((refused.tenant_id, refused.api_key_id)).or_default();
        let is_crowded = *of_key >= MAX_SUMS_PER_KEY || self.by_key.len() >= MAX_SUMS;
        let key = sought(if is_crowded { OTHER } else { refused.endpoint });
        if !is_crowded {
            *of_key += 1;
        }
        let fresh = || Sum { first_at: refused.at, last_at: refused.at, count: 0, units: 0, ip: None };
        self.by_key.entry(RefusalKey::from(&key)).or_insert_with(fresh).add(refused, ip);
    }

    fn put_back(&mut self, kept: Self) {
        for (key, old) in kept.by_key {
            self.by_key.entry(key).and_modify(|sum| sum.merge(&old)).or_insert(old);
        }
        for (key, old) in kept.of_api_key {
            let sums = self.of_api_key.entry(key).or_default();
            *sums = sums.saturating_add(old);
        }
    }
}

impl Sum {
    fn add(&mut self, refused: &Refused<'_>, ip: Option<IpAddr>) {
        self.count = self.count.saturating_add(1);
        self.units = self.units.saturating_add(u64::from(refused.units));
        self.first_at = self.first_at.min(refused.at);
        self.last_at = self.last_at.max(refused.at);
        self.ip = ip.or(self.ip);
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.units = self.units.saturating_add(other.units);
        self.first_at = self.first_at.min(other.first_at);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn refused(key: u128, endpoint: &str) -> Refused<'_> {
        Refused {
            tenant_id: TenantId::DEFAULT,
            api_key_id: ApiKeyId(Uuid::from_u128(key)),
            at: DateTime::UNIX_EPOCH,
            units: 5,
            refusal: Refusal::RateLimited,
            limit_name: "per-hour",
            endpoint,
            ip: Some("2001:db8:1:2::3".parse().unwrap()),
        }
    }

    /// Endpoint, count and units of each sum, by key.
    fn drained(refusals: &Refusals) -> Vec<(u128, String, u32, u64)> {
        let mut found = Vec::new();
        refusals
            .drain(|event| {
                let Event::Refused { api_key_id, endpoint, count, units, ip_address, .. } = event else {
                    return Err(());
                };
                assert_eq!(*ip_address, "2001:db8:1::");
                found.push((api_key_id.0.as_u128(), (*endpoint).to_owned(), *count, *units));
                Ok(())
            })
            .unwrap();
        found.sort();
        found
    }

    #[test]
    fn one_keys_flood_of_endpoints_is_bounded_and_takes_nothing_from_another() {
        let refusals = Refusals::new(false);
        for n in 0..10_000 {
            refusals.add(&refused(1, &format!("/{n}")));
        }
        refusals.add(&refused(2, "/a"));
        let found = drained(&refusals);
        assert_eq!(found.len(), 102);
        assert!(found.contains(&(1, OTHER.to_owned(), 9_900, 49_500)));
        assert!(found.contains(&(2, "/a".to_owned(), 1, 5)));
        refusals.add(&refused(1, "/again"));
        assert_eq!(drained(&refusals), [(1, "/again".to_owned(), 1, 5)], "a drain makes room");
    }

    #[test]
    fn what_could_not_be_written_is_there_the_next_time() {
        let refusals = Refusals::new(false);
        refusals.add(&refused(1, "/a"));
        assert_eq!(refusals.drain(|_| Err("full")), Err("full"));
        refusals.add(&refused(1, "/a"));
        assert_eq!(drained(&refusals), [(1, "/a".to_owned(), 2, 10)]);
    }
}

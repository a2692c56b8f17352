//! Refused requests, summed in memory for a moment before they go to the journal: an attack must not write a record, let
//! alone a row, per refusal. A refusal is never billed, so a killed process may lose those since the last look of the shipper.

use std::{
    hash::RandomState,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use hashbrown::{Equivalent, HashMap};
use tollgate_domain::{ApiKeyId, TenantId};

use crate::event::{Event, Refusal};

/// Distinct sums held; further endpoints of a key are summed as one.
const MOST_SUMS: usize = 20_000;
/// Stands for the endpoints beyond the bound.
const OTHER: &str = "(other)";

/// What refusals of one sum have in common.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    tenant_id: TenantId,
    api_key_id: ApiKeyId,
    minute: i64,
    refusal: Refusal,
    limit_name: Box<str>,
    endpoint: Box<str>,
}

/// The same, to look for without allocating.
#[derive(Hash)]
struct Sought<'a> {
    tenant_id: TenantId,
    api_key_id: ApiKeyId,
    minute: i64,
    refusal: Refusal,
    limit_name: &'a str,
    endpoint: &'a str,
}

impl Equivalent<Alike> for Sought<'_> {
    fn equivalent(&self, alike: &Alike) -> bool {
        self.api_key_id == alike.api_key_id
            && self.tenant_id == alike.tenant_id
            && self.minute == alike.minute
            && self.refusal == alike.refusal
            && *self.limit_name == *alike.limit_name
            && *self.endpoint == *alike.endpoint
    }
}

impl From<&Sought<'_>> for Alike {
    fn from(sought: &Sought<'_>) -> Self {
        Self {
            tenant_id: sought.tenant_id,
            api_key_id: sought.api_key_id,
            minute: sought.minute,
            refusal: sought.refusal,
            limit_name: sought.limit_name.into(),
            endpoint: sought.endpoint.into(),
        }
    }
}

struct Sum {
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    count: u32,
    ip: Option<IpAddr>,
}

/// One refused request.
pub(crate) struct Refused<'a> {
    pub(crate) tenant_id: TenantId,
    pub(crate) api_key_id: ApiKeyId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) refusal: Refusal,
    pub(crate) limit_name: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) ip: Option<IpAddr>,
}

/// The sums of one node since they were last taken.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Sums>);

type Sums = HashMap<Alike, Sum, RandomState>;

impl Refusals {
    pub(crate) fn add(&self, refused: &Refused<'_>) {
        let mut sums = self.lock();
        let crowded = sums.len() >= MOST_SUMS;
        let sought = Sought {
            tenant_id: refused.tenant_id,
            api_key_id: refused.api_key_id,
            minute: refused.at.timestamp().div_euclid(60),
            refusal: refused.refusal,
            limit_name: refused.limit_name,
            endpoint: if crowded { OTHER } else { refused.endpoint },
        };
        let fresh = Sum { first_at: refused.at, last_at: refused.at, count: 0, ip: None };
        let sum = match sums.get_mut(&sought) {
            Some(sum) => sum,
            None => sums.entry(Alike::from(&sought)).or_insert(fresh),
        };
        sum.count = sum.count.saturating_add(1);
        sum.first_at = sum.first_at.min(refused.at);
        sum.last_at = sum.last_at.max(refused.at);
        sum.ip = refused.ip.or(sum.ip);
    }

    /// Takes the sums and hands each to `write`; those it could not write are put back.
    pub(crate) fn drain<E>(&self, mut write: impl FnMut(&Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut sums = std::mem::take(&mut *self.lock());
        let mut result = Ok(());
        sums.retain(|alike, sum| {
            if result.is_err() {
                return true;
            }
            let ip_address = sum.ip.map(|ip| ip.to_canonical().to_string()).unwrap_or_default();
            result = write(&Event::Refused {
                tenant_id: alike.tenant_id,
                api_key_id: alike.api_key_id,
                first_at: sum.first_at,
                last_at: sum.last_at,
                count: sum.count,
                refusal: alike.refusal,
                limit_name: &alike.limit_name,
                endpoint: &alike.endpoint,
                ip_address: &ip_address,
            });
            result.is_err()
        });
        if !sums.is_empty() {
            self.put_back(sums);
        }
        result
    }

    fn put_back(&self, kept: Sums) {
        let mut sums = self.lock();
        for (alike, old) in kept {
            sums.entry(alike)
                .and_modify(|sum| {
                    sum.count = sum.count.saturating_add(old.count);
                    sum.first_at = sum.first_at.min(old.first_at);
                })
                .or_insert(old);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The totals of one batch of the journal, as a job. Each stream adds every record here once, so a record looks up one
//! key and one endpoint and allocates nothing.

use std::{
    collections::{BTreeMap, HashMap as KeyedHashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use hashbrown::HashMap;
use smallvec::SmallVec;
use tollgate_domain::{
    ApiKeyId, TenantId,
    period::{days_since_epoch, minute_of, minutes_since_epoch, start_of_day, start_of_minute},
    usage::{
        Counts, EndpointUsage, JournalSpan, JournalStream, KeyUsage, MinuteUsage, UsageBatch, ViolationBatch,
        ViolationRow, pack,
    },
};
use tollgate_jobs::Job;

use crate::metering::{
    event::{self, Event, Refusal},
    refusals::OTHER,
};

/// Endpoints of a key in one batch. Further ones are summed as one, as in the table of a day's endpoints.
const MAX_ENDPOINTS_PER_KEY: usize = 100;

/// Sums of the records seen so far.
#[derive(Default)]
pub(crate) struct Sums {
    usage: HashMap<(TenantId, ApiKeyId), OfKey>,
    endpoints: Endpoints,
    violations: BTreeMap<(TenantId, ApiKeyId, String, String, DateTime<Utc>), ViolationRow>,
}

/// The sums of one key. A batch covers a short time: one minute and one day, or two.
#[derive(Default)]
struct OfKey {
    minutes: SmallVec<[Minute; 1]>,
    endpoints: SmallVec<[OfEndpoint; 1]>,
}

struct Minute {
    /// Minutes since the Unix epoch.
    number: i64,
    counts: Counts,
    last_at: DateTime<Utc>,
}

struct OfEndpoint {
    /// Days since the Unix epoch.
    day: i64,
    /// Index among the batch's endpoints.
    endpoint: usize,
    units: i64,
}

/// Each name once. Callers choose the names, so the hash is keyed and they cannot choose which collide.
#[derive(Default)]
struct Endpoints {
    names: Vec<Arc<str>>,
    indexes: KeyedHashMap<Arc<str>, usize>,
}

impl Sums {
    /// The number of keys or rows that the job would have.
    pub(crate) fn len(&self) -> usize {
        self.usage.len() + self.violations.len()
    }

    pub(crate) fn add(&mut self, stream: JournalStream, record: &[u8]) {
        if stream == JournalStream::Violations && event::is_admitted(record) {
            return;
        }
        match (stream, event::decode(record)) {
            (JournalStream::Usage, Some(Event::Admitted { tenant_id, api_key_id, at, units, endpoint })) => {
                let units = i64::from(units);
                let of_key = self.usage.entry((tenant_id, api_key_id)).or_default();
                of_key.count(at, at, &Counts { allowed: units, ..Counts::default() });
                if !endpoint.is_empty() {
                    of_key.endpoint(&mut self.endpoints, days_since_epoch(at), endpoint, units);
                }
            }
            (
                JournalStream::Usage,
                Some(Event::Refused { tenant_id, api_key_id, first_at, last_at, units, refusal, .. }),
            ) => {
                let of_key = self.usage.entry((tenant_id, api_key_id)).or_default();
                of_key.count(first_at, last_at, &refused(refusal, units));
            }
            (JournalStream::Violations, Some(refused @ Event::Refused { .. })) => self.violation(&refused),
            (JournalStream::Violations, Some(Event::Admitted { .. })) => {}
            (_, None) => tracing::error!("skipped a journal record of an unknown kind"),
        }
    }

    fn violation(&mut self, refused: &Event<'_>) {
        let Event::Refused {
            tenant_id,
            api_key_id,
            first_at,
            last_at,
            count,
            refusal,
            limit_name,
            endpoint,
            ip_address,
            ..
        } = refused
        else {
            return;
        };
        if *refusal == Refusal::Rejected {
            return;
        }
        let minute = minute_of(*first_at);
        let key = (*tenant_id, *api_key_id, (*limit_name).to_owned(), (*endpoint).to_owned(), minute);
        let row = self.violations.entry(key).or_insert_with(|| ViolationRow {
            tenant_id: *tenant_id,
            api_key_id: *api_key_id,
            limit_name: (*limit_name).to_owned(),
            endpoint: (*endpoint).to_owned(),
            minute,
            ip_address: String::new(),
            count: 0,
            first_at: *first_at,
            last_at: *last_at,
        });
        row.count += i64::from(*count);
        row.first_at = row.first_at.min(*first_at);
        row.last_at = row.last_at.max(*last_at);
        if !ip_address.is_empty() {
            row.ip_address = (*ip_address).to_owned();
        }
    }

    /// The job.
    pub(crate) fn into_job(self, stream: JournalStream, span: JournalSpan) -> Job {
        if stream == JournalStream::Violations {
            return Job::ViolationRecord(ViolationBatch { span, rows: self.violations.into_values().collect() });
        }
        let names = &self.endpoints.names;
        let of_key = |((tenant_id, api_key_id), of_key): ((TenantId, ApiKeyId), OfKey)| KeyUsage {
            tenant_id,
            api_key_id,
            minutes: of_key.minutes.into_iter().map(MinuteUsage::from).collect(),
            endpoints: of_key.endpoints.into_iter().filter_map(|row| row.named(names)).collect(),
        };
        let keys: Vec<_> = self.usage.into_iter().map(of_key).collect();
        Job::UsageApply(UsageBatch { span, chunks: pack(&keys) })
    }
}

impl OfKey {
    fn count(&mut self, first_at: DateTime<Utc>, last_at: DateTime<Utc>, counts: &Counts) {
        let number = minutes_since_epoch(first_at);
        if let Some(minute) = self.minutes.iter_mut().find(|minute| minute.number == number) {
            minute.counts.add(counts);
            minute.last_at = minute.last_at.max(last_at);
        } else {
            self.minutes.push(Minute { number, counts: *counts, last_at });
        }
    }

    fn endpoint(&mut self, endpoints: &mut Endpoints, day: i64, name: &str, units: i64) {
        let mut index = endpoints.index(name);
        if !self.endpoints.iter().any(|row| (row.day, row.endpoint) == (day, index))
            && self.endpoints.len() >= MAX_ENDPOINTS_PER_KEY
        {
            index = endpoints.index(OTHER);
        }
        if let Some(row) = self.endpoints.iter_mut().find(|row| (row.day, row.endpoint) == (day, index)) {
            row.units = row.units.saturating_add(units);
        } else {
            self.endpoints.push(OfEndpoint { day, endpoint: index, units });
        }
    }
}

impl OfEndpoint {
    fn named(self, names: &[Arc<str>]) -> Option<EndpointUsage> {
        let endpoint = names.get(self.endpoint)?.clone();
        Some(EndpointUsage { day: start_of_day(self.day), endpoint, allowed: self.units })
    }
}

impl From<Minute> for MinuteUsage {
    fn from(Minute { number, counts, last_at }: Minute) -> Self {
        Self { minute: start_of_minute(number), counts, last_at }
    }
}

impl Endpoints {
    fn index(&mut self, name: &str) -> usize {
        if let Some(index) = self.indexes.get(name) {
            return *index;
        }
        let (name, index) = (Arc::<str>::from(name), self.names.len());
        self.names.push(name.clone());
        self.indexes.insert(name, index);
        index
    }
}

fn refused(refusal: Refusal, units: u64) -> Counts {
    let units = i64::try_from(units).unwrap_or(i64::MAX);
    match refusal {
        Refusal::RateLimited => Counts { rate_limited: units, ..Counts::default() },
        Refusal::QuotaExceeded => Counts { quota_exceeded: units, ..Counts::default() },
        Refusal::Rejected => Counts { rejected: units, ..Counts::default() },
    }
}

//! What one batch of the journal adds up to, as the rows of a job. Every record passes here once for each stream, so what
//! is looked up per record is one key and one endpoint, without allocating.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tollgate_domain::{
    ApiKeyId, TenantId,
    usage::{Counts, EndpointRow, JournalSpan, JournalStream, UsageBatch, UsageRow, ViolationBatch, ViolationRow},
};
use tollgate_jobs::Job;

use crate::event::{self, Event, Refusal};

const SECONDS_PER_MINUTE: i64 = 60;
const SECONDS_PER_DAY: i64 = 86_400;

/// Sums of the records seen so far.
#[derive(Default)]
pub(crate) struct Sums {
    usage: HashMap<(TenantId, ApiKeyId), OfKey>,
    violations: BTreeMap<(TenantId, ApiKeyId, String, String, DateTime<Utc>), ViolationRow>,
    rows: usize,
}

/// Of one key. A batch covers a moment: one minute and one day, or two.
#[derive(Default)]
struct OfKey {
    minutes: Vec<Minute>,
    days: Vec<(i64, HashMap<Box<str>, i64>)>,
}

struct Minute {
    /// Minutes since the Unix epoch.
    number: i64,
    counts: Counts,
    last_at: DateTime<Utc>,
}

impl Sums {
    /// Rows that the job would have.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn add(&mut self, stream: JournalStream, record: &[u8]) {
        if stream == JournalStream::Violations && event::is_admitted(record) {
            return;
        }
        match (stream, event::decode(record)) {
            (JournalStream::Usage, Some(Event::Admitted { tenant_id, api_key_id, at, units, endpoint })) => {
                let counts = Counts { allowed: i64::from(units), ..Counts::default() };
                let of_key = self.usage.entry((tenant_id, api_key_id)).or_default();
                self.rows += of_key.count(at, at, &counts) + of_key.endpoint(at, endpoint, units);
            }
            (
                JournalStream::Usage,
                Some(Event::Refused { tenant_id, api_key_id, first_at, last_at, count, refusal, .. }),
            ) => {
                let of_key = self.usage.entry((tenant_id, api_key_id)).or_default();
                self.rows += of_key.count(first_at, last_at, &refused(refusal, count));
            }
            (JournalStream::Violations, Some(refused @ Event::Refused { .. })) => self.violation(&refused),
            (JournalStream::Violations, Some(Event::Admitted { .. })) => {}
            (_, None) => tracing::error!("a journal record is of no known kind and is left out"),
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
        } = refused
        else {
            return;
        };
        if *refusal == Refusal::Rejected {
            return;
        }
        let minute = floor(*first_at, TimeDelta::minutes(1));
        let key = (*tenant_id, *api_key_id, (*limit_name).to_owned(), (*endpoint).to_owned(), minute);
        let row = self.violations.entry(key).or_insert_with(|| {
            self.rows += 1;
            ViolationRow {
                tenant_id: *tenant_id,
                api_key_id: *api_key_id,
                limit_name: (*limit_name).to_owned(),
                endpoint: (*endpoint).to_owned(),
                minute,
                ip_address: String::new(),
                count: 0,
                first_at: *first_at,
                last_at: *last_at,
            }
        });
        row.count += i64::from(*count);
        row.first_at = row.first_at.min(*first_at);
        row.last_at = row.last_at.max(*last_at);
        if !ip_address.is_empty() {
            row.ip_address = (*ip_address).to_owned();
        }
    }

    /// The job. Its rows are sorted, so that two workers lock them in the same order.
    pub(crate) fn into_job(self, stream: JournalStream, span: JournalSpan) -> Job {
        if stream == JournalStream::Violations {
            return Job::ViolationRecord(ViolationBatch { span, rows: self.violations.into_values().collect() });
        }
        let (mut usage, mut endpoints) = (Vec::new(), Vec::new());
        for ((tenant_id, api_key_id), of_key) in self.usage {
            usage.extend(of_key.minutes.into_iter().map(|Minute { number, counts, last_at }| UsageRow {
                tenant_id,
                api_key_id,
                minute: start(number, SECONDS_PER_MINUTE),
                counts,
                last_at,
            }));
            for (number, of_day) in of_key.days {
                let day = start(number, SECONDS_PER_DAY);
                let row = |(endpoint, allowed): (Box<str>, i64)| EndpointRow {
                    tenant_id,
                    api_key_id,
                    day,
                    endpoint: endpoint.into(),
                    allowed,
                };
                endpoints.extend(of_day.into_iter().map(row));
            }
        }
        usage.sort_unstable_by_key(|row| (row.tenant_id, row.api_key_id, row.minute));
        endpoints.sort_unstable_by(|a, b| {
            let key = |row: &EndpointRow| (row.tenant_id, row.api_key_id, row.day);
            key(a).cmp(&key(b)).then_with(|| a.endpoint.cmp(&b.endpoint))
        });
        Job::UsageApply(UsageBatch { span, usage, endpoints })
    }
}

impl OfKey {
    /// How many rows this added.
    fn count(&mut self, first_at: DateTime<Utc>, last_at: DateTime<Utc>, counts: &Counts) -> usize {
        let number = first_at.timestamp().div_euclid(SECONDS_PER_MINUTE);
        if let Some(minute) = self.minutes.iter_mut().find(|minute| minute.number == number) {
            minute.counts.add(counts);
            minute.last_at = minute.last_at.max(last_at);
            return 0;
        }
        self.minutes.push(Minute { number, counts: *counts, last_at });
        1
    }

    /// How many rows this added.
    fn endpoint(&mut self, at: DateTime<Utc>, endpoint: &str, units: u32) -> usize {
        if endpoint.is_empty() {
            return 0;
        }
        let number = at.timestamp().div_euclid(SECONDS_PER_DAY);
        let place = self.days.iter().position(|(day, _)| *day == number);
        let place = place.unwrap_or_else(|| {
            self.days.push((number, HashMap::new()));
            self.days.len() - 1
        });
        let Some((_, of_day)) = self.days.get_mut(place) else { return 0 };
        if let Some(sum) = of_day.get_mut(endpoint) {
            *sum = sum.saturating_add(i64::from(units));
            return 0;
        }
        of_day.insert(endpoint.into(), i64::from(units));
        1
    }
}

fn refused(refusal: Refusal, count: u32) -> Counts {
    let count = i64::from(count);
    match refusal {
        Refusal::RateLimited => Counts { rate_limited: count, ..Counts::default() },
        Refusal::QuotaExceeded => Counts { quota_exceeded: count, ..Counts::default() },
        Refusal::Rejected => Counts { rejected: count, ..Counts::default() },
    }
}

/// The moment at which the minute or day of this number begins.
fn start(number: i64, seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(number.saturating_mul(seconds), 0).unwrap_or_default()
}

/// Start of the minute or day; a time outside the calendar's range stays as it is.
pub(crate) fn floor(at: DateTime<Utc>, span: TimeDelta) -> DateTime<Utc> {
    at.duration_trunc(span).unwrap_or(at)
}

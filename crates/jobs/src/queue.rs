//! The queue as its users see it: push jobs, count the waiting ones, list and retry the dead ones.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tollgate_domain::{Clock, TenantId};

use crate::{
    Error, Job, Options, Priority,
    envelope::{Envelope, describe},
    memory::Memory,
    record::{DeadRecord, Depth, NewJob, Pushed, Tenants},
    redis::RedisStore,
    store::Store,
    trace::trace_id,
};

/// How to push a job.
#[derive(Clone, Debug, Default)]
pub struct Push {
    /// Idempotency id. While a job with this id waits, is leased or is dead, no second one is
    /// added. `None` makes a new id.
    pub id: Option<String>,
    /// The earliest moment at which it runs; at once when `None`.
    pub run_at: Option<DateTime<Utc>>,
    /// W3C trace context of the request or job that pushes. The handler receives it, and its trace id is in the job's
    /// log lines. An invalid text is left out.
    pub traceparent: Option<String>,
}

/// A job that was given up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadJob {
    /// The job's id, as pushed.
    pub id: String,
    /// The job's name; `unreadable` when the stored text does not contain one.
    pub name: String,
    /// The queue it was in.
    pub priority: Priority,
    /// Attempts made.
    pub attempts: u32,
    /// The cause of the last failure.
    pub cause: String,
    /// When it was pushed.
    pub pushed_at: DateTime<Utc>,
    /// When it was given up.
    pub died_at: DateTime<Utc>,
    /// Its payload, without the rows of other tenants; null when it cannot be decoded.
    pub payload: serde_json::Value,
}

/// A job in its stored form, ready to be pushed.
#[derive(Debug)]
pub struct Encoded {
    priority: Priority,
    new: NewJob,
}

/// A queue in memory or in Redis. Clones are the same queue.
#[derive(Clone)]
pub struct Queue {
    pub(crate) store: Store,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
}

impl Queue {
    /// Opens `memory:`, `redis://…` or `rediss://…` (TLS). It connects at the first use, so a Redis that is down now is
    /// no error.
    ///
    /// # Errors
    /// When the scheme is none of these, or the address cannot be parsed.
    #[expect(clippy::unused_async, reason = "opening a store may become a round trip; callers already await it")]
    pub async fn connect(url: &str, options: Options, clock: Clock) -> Result<Self, Error> {
        let scheme = url.split(':').next().unwrap_or_default();
        let store = match scheme {
            "memory" => Store::Memory(Arc::new(Memory::new(&options, clock.clone()))),
            "redis" | "rediss" => Store::Redis(Arc::new(RedisStore::new(url, &options, clock.clone())?)),
            _ => return Err(Error::UnknownScheme { scheme: scheme.to_owned() }),
        };
        Ok(Self { store, options: Arc::new(options), clock })
    }

    /// Refuses a Redis that may drop queued jobs when its memory is full. Call it at start.
    ///
    /// # Errors
    /// [`Error::Evicts`] says what to set; [`Error::EvictionUnknown`] when this user may not read the policy;
    /// [`Error::Redis`] when Redis cannot be reached.
    pub async fn check_eviction(&self) -> Result<(), Error> {
        match &self.store {
            Store::Memory(_) => Ok(()),
            Store::Redis(redis) => redis.check_eviction().await,
        }
    }

    /// Adds one job.
    ///
    /// # Errors
    /// When Redis has not confirmed it. The job may still have been added: push it again with the same id.
    pub async fn push(&self, job: &Job, push: Push) -> Result<Pushed, Error> {
        self.push_encoded(self.encode(job, push)?).await
    }

    /// The first half of [`Queue::push`]. It does no I/O, but takes milliseconds for a job with thousands of rows, so a
    /// caller may run it on another thread.
    ///
    /// # Errors
    /// When the job cannot be written as JSON.
    pub fn encode(&self, job: &Job, push: Push) -> Result<Encoded, Error> {
        Ok(Encoded { priority: job.priority(), new: self.new_job(job, push)? })
    }

    /// The second half of [`Queue::push`].
    ///
    /// # Errors
    /// As for [`Queue::push`].
    pub async fn push_encoded(&self, Encoded { priority, new }: Encoded) -> Result<Pushed, Error> {
        let pushed = self.store.push(priority, vec![new]).await?;
        Ok(pushed.first().copied().unwrap_or(Pushed::AlreadyThere))
    }

    /// Adds many jobs in few round trips; one answer per job, in order.
    ///
    /// # Errors
    /// As for [`Queue::push`]; some jobs may have been added.
    pub async fn push_many(&self, jobs: Vec<(Job, Push)>) -> Result<Vec<Pushed>, Error> {
        let mut pushed = vec![Pushed::AlreadyThere; jobs.len()];
        let mut encoded = Vec::with_capacity(jobs.len());
        for (place, (job, push)) in jobs.into_iter().enumerate() {
            encoded.push((job.priority(), place, self.new_job(&job, push)?));
        }
        for priority in Priority::ALL {
            let (places, new): (Vec<usize>, Vec<NewJob>) =
                encoded.extract_if(.., |(theirs, ..)| *theirs == priority).map(|(_, place, new)| (place, new)).unzip();
            if new.is_empty() {
                continue;
            }
            for (place, answer) in places.into_iter().zip(self.store.push(priority, new).await?) {
                if let Some(slot) = pushed.get_mut(place) {
                    *slot = answer;
                }
            }
        }
        Ok(pushed)
    }

    fn new_job(&self, job: &Job, push: Push) -> Result<NewJob, Error> {
        let Push { id, run_at, traceparent } = push;
        Ok(NewJob {
            id: id.unwrap_or_else(|| self.clock.new_id().to_string()),
            body: Envelope::encode(job, traceparent.filter(|text| trace_id(text).is_some()))?,
            max_attempts: job.max_attempts(),
            tenants: Tenants::of(job),
            // Rounded up: never early.
            run_at: run_at.map(|at| at.timestamp_micros().saturating_add(999).div_euclid(1_000)),
        })
    }

    /// A page of the tenant's dead jobs, the latest first, and their total number. Pages count from 1.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead(&self, tenant_id: TenantId, page: u32, limit: u32) -> Result<(Vec<DeadJob>, u64), Error> {
        let limit = limit as usize;
        let skip = limit.saturating_mul(page.saturating_sub(1) as usize);
        let mut total = 0;
        let mut latest: Vec<(i64, String, Priority)> = Vec::new();
        for priority in Priority::ALL {
            let (dead, ids) = self.store.dead(priority, tenant_id, skip.saturating_add(limit)).await?;
            total += dead;
            latest.extend(ids.into_iter().map(|(died_at, id)| (died_at, id, priority)));
        }
        latest.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
        let mut page = Vec::new();
        for (_, id, priority) in latest.into_iter().skip(skip).take(limit) {
            let record = self.store.dead_one(priority, &id).await?;
            page.extend(record.map(|record| dead_job(id, priority, record, tenant_id)));
        }
        Ok((page, total))
    }

    /// Makes a dead job of the tenant due at once, with its attempts reset to 0. Returns the job as it was; `None` when
    /// the tenant has no dead job with this id.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn retry(&self, tenant_id: TenantId, id: &str) -> Result<Option<DeadJob>, Error> {
        for priority in Priority::ALL {
            if let Some(record) = self.store.revive(priority, tenant_id, id).await? {
                return Ok(Some(dead_job(id.to_owned(), priority, record, tenant_id)));
            }
        }
        Ok(None)
    }

    /// The depth of each priority's queue, the most urgent first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn depths(&self) -> Result<Vec<Depth>, Error> {
        let mut depths = Vec::with_capacity(Priority::ALL.len());
        for priority in Priority::ALL {
            depths.push(self.store.depth(priority).await?);
        }
        Ok(depths)
    }

    /// Measures one round trip.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn ping(&self) -> Result<Duration, Error> {
        match &self.store {
            Store::Memory(_) => Ok(Duration::ZERO),
            Store::Redis(redis) => redis.ping().await,
        }
    }
}

fn dead_job(id: String, priority: Priority, record: DeadRecord, tenant_id: TenantId) -> DeadJob {
    let DeadRecord { body, attempts, cause, pushed_at, died_at, .. } = record;
    let (name, payload) = describe(&body, tenant_id);
    let time = |millis| DateTime::from_timestamp_millis(millis).unwrap_or_default();
    DeadJob { id, name, priority, attempts, cause, pushed_at: time(pushed_at), died_at: time(died_at), payload }
}

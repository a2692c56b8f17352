//! Jobs in this process's memory. They are lost when the process ends, so it suits jobs that durable state can rebuild.
//!
//! The conformance tests hold it equal to the Redis scripts. Due times follow the [`Clock`]. Leases follow the
//! monotonic clock here, and the server's clock on Redis.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tollgate_domain::{Clock, TenantId};

use crate::{
    Options, Priority,
    record::{DeadRecord, Depth, LEASE_EXPIRED, LeasedJob, NewJob, Pushed, Settlement, Tenants, Verdict},
};

pub(crate) struct Memory {
    clock: Clock,
    lease: Duration,
    dead_kept: usize,
    critical: Mutex<Jobs>,
    default: Mutex<Jobs>,
    low: Mutex<Jobs>,
}

/// The jobs of one priority. An id is in exactly one of `due`, `leased` and `dead`, and always in `entries`.
#[derive(Default)]
struct Jobs {
    entries: HashMap<String, Entry>,
    /// (due at in milliseconds, id)
    due: BTreeSet<(i64, String)>,
    leased: HashMap<String, Holder>,
    /// (died at in milliseconds, id)
    dead: BTreeSet<(i64, String)>,
    dead_dropped: u64,
}

struct Entry {
    body: Vec<u8>,
    tenants: Tenants,
    attempts: u32,
    max_attempts: u32,
    pushed_at: i64,
    died_at: i64,
    cause: String,
}

/// The process that has leased a job, and until when.
struct Holder {
    token: Arc<str>,
    until: Instant,
}

impl Memory {
    pub(crate) fn new(options: &Options, clock: Clock) -> Self {
        Self {
            clock,
            lease: options.lease,
            dead_kept: options.dead_kept,
            critical: Mutex::default(),
            default: Mutex::default(),
            low: Mutex::default(),
        }
    }

    fn now(&self) -> i64 {
        self.clock.micros().div_euclid(1_000)
    }

    fn jobs(&self, priority: Priority) -> MutexGuard<'_, Jobs> {
        let jobs = match priority {
            Priority::Critical => &self.critical,
            Priority::Default => &self.default,
            Priority::Low => &self.low,
        };
        jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, priority: Priority, new: Vec<NewJob>) -> Vec<Pushed> {
        let now = self.now();
        let mut jobs = self.jobs(priority);
        new.into_iter().map(|job| jobs.add(job, now)).collect()
    }

    pub(crate) fn lease(&self, priority: Priority, token: &Arc<str>, limit: usize) -> Vec<LeasedJob> {
        let now = self.now();
        let until = Instant::now() + self.lease;
        let mut jobs = self.jobs(priority);
        jobs.take_back_expired(now, self.dead_kept);
        let mut leased = Vec::new();
        while leased.len() < limit {
            let Some(first) = jobs.due.first().filter(|(due, _)| *due <= now) else { break };
            let first = first.clone();
            jobs.due.remove(&first);
            let (_, id) = first;
            let Some(entry) = jobs.entries.get(&id) else { continue };
            leased.push(LeasedJob {
                id: id.clone(),
                body: entry.body.clone(),
                attempts: entry.attempts,
                max_attempts: entry.max_attempts,
                token: Arc::clone(token),
            });
            jobs.leased.insert(id, Holder { token: Arc::clone(token), until });
        }
        leased
    }

    pub(crate) fn settle(&self, priority: Priority, settlements: &[Settlement]) {
        let now = self.now();
        let mut jobs = self.jobs(priority);
        for Settlement { id, token, verdict } in settlements {
            if jobs.leased.get(id).is_none_or(|holder| holder.token != *token) {
                continue;
            }
            jobs.leased.remove(id);
            match verdict {
                Verdict::Done => drop(jobs.entries.remove(id)),
                Verdict::Retry { after, cause } => {
                    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
                    jobs.fail(id, cause, now, now.saturating_add(after), self.dead_kept);
                }
                Verdict::Abort { cause } => {
                    if let Some(entry) = jobs.entries.get_mut(id) {
                        entry.attempts = entry.attempts.saturating_add(1);
                    }
                    jobs.bury(id, cause, now, self.dead_kept);
                }
                Verdict::GiveBack => drop(jobs.due.insert((now, id.clone()))),
            }
        }
    }

    pub(crate) fn renew(&self, priority: Priority, held: &[(String, Arc<str>)]) -> Vec<String> {
        let until = Instant::now() + self.lease;
        let mut jobs = self.jobs(priority);
        let Jobs { leased, entries, .. } = &mut *jobs;
        let mut lost = Vec::new();
        for (id, token) in held {
            match leased.get_mut(id) {
                Some(holder) if holder.token == *token => holder.until = until,
                _ if entries.contains_key(id) => lost.push(id.clone()),
                _ => {}
            }
        }
        lost
    }

    pub(crate) fn dead(&self, priority: Priority, tenant_id: TenantId, limit: usize) -> (u64, Vec<(i64, String)>) {
        let jobs = self.jobs(priority);
        let is_theirs = |id: &String| jobs.entries.get(id).is_some_and(|entry| entry.tenants.include(tenant_id));
        let theirs: Vec<_> = jobs.dead.iter().rev().filter(|(_, id)| is_theirs(id)).collect();
        (theirs.len() as u64, theirs.into_iter().take(limit).cloned().collect())
    }

    pub(crate) fn dead_one(&self, priority: Priority, id: &str) -> Option<DeadRecord> {
        self.jobs(priority).dead_record(id)
    }

    pub(crate) fn revive(&self, priority: Priority, id: &str) -> Option<DeadRecord> {
        let now = self.now();
        let mut jobs = self.jobs(priority);
        let record = jobs.dead_record(id)?;
        jobs.dead.remove(&(record.died_at, id.to_owned()));
        if let Some(entry) = jobs.entries.get_mut(id) {
            entry.attempts = 0;
            entry.cause.clear();
        }
        jobs.due.insert((now, id.to_owned()));
        Some(record)
    }

    pub(crate) fn depth(&self, priority: Priority) -> Depth {
        let now = self.now();
        let jobs = self.jobs(priority);
        let waiting = jobs.due.iter().take_while(|(due, _)| *due <= now).count();
        let oldest = jobs.due.first().map(|(due, _)| now.saturating_sub(*due)).filter(|age| *age >= 0);
        Depth {
            priority,
            waiting: waiting as u64,
            scheduled: (jobs.due.len() - waiting) as u64,
            leased: jobs.leased.len() as u64,
            dead: jobs.dead.len() as u64,
            dead_dropped: jobs.dead_dropped,
            oldest_waiting: oldest.map(|age| Duration::from_millis(age.unsigned_abs())),
        }
    }
}

impl Jobs {
    fn add(&mut self, job: NewJob, now: i64) -> Pushed {
        let NewJob { id, body, max_attempts, tenants, run_at } = job;
        if self.entries.contains_key(&id) {
            return Pushed::AlreadyThere;
        }
        self.due.insert((run_at.unwrap_or(now), id.clone()));
        let cause = String::new();
        self.entries.insert(id, Entry { body, tenants, attempts: 0, max_attempts, pushed_at: now, died_at: 0, cause });
        Pushed::Added
    }

    fn take_back_expired(&mut self, now: i64, dead_kept: usize) {
        let instant = Instant::now();
        let expired: Vec<String> =
            self.leased.iter().filter(|(_, holder)| holder.until <= instant).map(|(id, _)| id.clone()).collect();
        for id in expired {
            self.leased.remove(&id);
            self.fail(&id, LEASE_EXPIRED, now, now, dead_kept);
        }
    }

    /// Counts an attempt of a job whose lease has ended: due again at `retry_at`, or dead when it was the last attempt.
    fn fail(&mut self, id: &str, cause: &str, now: i64, retry_at: i64, dead_kept: usize) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        if entry.attempts >= entry.max_attempts {
            self.bury(id, cause, now, dead_kept);
        } else {
            self.due.insert((retry_at, id.to_owned()));
        }
    }

    fn bury(&mut self, id: &str, cause: &str, now: i64, dead_kept: usize) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        cause.clone_into(&mut entry.cause);
        entry.died_at = now;
        self.dead.insert((now, id.to_owned()));
        while self.dead.len() > dead_kept {
            let Some((_, oldest)) = self.dead.pop_first() else { break };
            self.entries.remove(&oldest);
            self.dead_dropped += 1;
        }
    }

    fn dead_record(&self, id: &str) -> Option<DeadRecord> {
        let entry = self.entries.get(id)?;
        self.dead.contains(&(entry.died_at, id.to_owned())).then(|| DeadRecord {
            body: entry.body.clone(),
            tenants: entry.tenants.clone(),
            attempts: entry.attempts,
            cause: entry.cause.clone(),
            pushed_at: entry.pushed_at,
            died_at: entry.died_at,
        })
    }
}

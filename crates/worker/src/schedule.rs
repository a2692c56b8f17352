//! Jobs that are due at certain times, each once for all workers.
//!
//! The database stores the last pushed tick of each schedule. A worker pushes the due tick, then updates that row by
//! compare-and-set. These rules follow:
//!
//! - No tick is lost. If a tick cannot be pushed or recorded, because a store is down or the worker is killed, the
//!   next worker pushes it again.
//! - A tick is one job, because its id is made of the schedule and the tick. It runs twice only when the job was done
//!   before a second worker pushed the same tick, as any job may.
//! - Ticks that were missed while no worker ran are caught up. For seconds and days only the latest one is pushed,
//!   because its job does the work of those before it. For months each one is pushed, in order, because each has its
//!   own work; a month is pushed only when the month before it is recorded.
//! - A schedule that has never run begins with its latest tick.
//!
//! A pushed tick is in the queue, which may lose it (a queue in memory ends with its process). Work that must not be
//! lost, such as the close of a month, needs its own record of what is done.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tollgate_jobs::{
    Job, Push,
    job::{billing_sweep, quota_sync, reconciliation, retention},
};
use tollgate_service::{Error, Service};

pub use crate::calendar::Calendar;

/// How often a worker checks whether a tick is due, and how long it pauses after a failure.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// A job and the times at which it is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The database stores the last tick under this name. A schedule with a new name has never run.
    pub name: &'static str,
    /// When it is due, and what happens to missed ticks.
    pub calendar: Calendar,
    /// Makes the job of a tick.
    pub job: fn(tick: DateTime<Utc>) -> Job,
}

const SCHEDULES: [Schedule; 4] = [
    // Far shorter than the windows it protects, far longer than its query takes.
    Schedule {
        name: quota_sync::NAME,
        calendar: Calendar::Every(TimeDelta::seconds(5)),
        job: |_| Job::QuotaSync(quota_sync::Payload {}),
    },
    // Nobody waits for a record to the minute; a payment is overdue to the minute.
    Schedule {
        name: billing_sweep::NAME,
        calendar: Calendar::Every(TimeDelta::seconds(30)),
        job: |_| Job::BillingSweep(billing_sweep::Payload {}),
    },
    Schedule {
        name: reconciliation::NAME,
        calendar: Calendar::Every(TimeDelta::hours(1)),
        job: |_| Job::Reconciliation(reconciliation::Payload {}),
    },
    Schedule {
        name: retention::NAME,
        calendar: Calendar::Daily(NaiveTime::MIN),
        job: |tick| Job::Retention(retention::Payload { at: tick }),
    },
];

impl Schedule {
    /// Pushes what is due now. Returns the last tick that was pushed by this or another worker.
    ///
    /// # Errors
    /// When the database or the queue is down. Ticks that were pushed before stay pushed.
    pub async fn catch_up(&self, service: &Service) -> Result<Option<DateTime<Utc>>, Error> {
        let now = service.clock().now();
        let mut last = service.ops().last_tick(self.name).await?;
        while let Some(tick) = self.calendar.due(last, now) {
            let push = Push { id: Some(format!("{}:{}", self.name, tick.timestamp())), ..Push::default() };
            service.queue().push(&(self.job)(tick), push).await?;
            let is_recorded = service.ops().claim_tick(self.name, tick).await?;
            // Another worker was faster, and may be ahead.
            last = if is_recorded { Some(tick) } else { service.ops().last_tick(self.name).await? };
        }
        Ok(last)
    }
}

/// Runs all schedules until `stop`.
pub(crate) async fn run_all(service: Service, stop: CancellationToken) {
    let mut running = JoinSet::new();
    for schedule in &SCHEDULES {
        running.spawn(run_one(service.clone(), schedule));
    }
    stop.cancelled().await;
    running.shutdown().await;
}

async fn run_one(service: Service, schedule: &'static Schedule) {
    let mut polls = interval(POLL_EVERY);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        polls.tick().await;
        // Checks in memory first, so that the database is asked only when a tick is due.
        if !service.is_prepared() || schedule.calendar.due(last, service.clock().now()).is_none() {
            continue;
        }
        match schedule.catch_up(&service).await {
            Ok(pushed) => last = pushed,
            Err(error) => {
                tracing::debug!(%error, schedule = schedule.name, "cannot push a tick; trying again")
            }
        }
    }
}

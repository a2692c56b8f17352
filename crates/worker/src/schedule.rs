//! Jobs that are due at certain times, however many workers there are.
//!
//! The database holds the last tick of each schedule that was pushed. A worker pushes the tick that is due, then moves that
//! row by compare-and-set. The rules that follow:
//!
//! - No tick is lost. A tick that cannot be pushed or recorded, because a store is away or the worker is killed, is pushed
//!   again by whichever worker comes next.
//! - A tick is one job, because its id is made of the schedule and the tick. Only when the job was done before a second
//!   worker pushed the same tick does it run twice, as any job may.
//! - Ticks that were missed while no worker ran are caught up: of seconds and days the latest, once, because its job does
//!   the work of those before it; of months each, in order, because each has work of its own. A month is pushed only when
//!   the month before it is recorded.
//! - A schedule that has never run begins with its latest tick.
//!
//! To push a tick is to give it to the queue, which may lose it (a queue in memory ends with its process). Work that must not
//! be lost, such as the close of a month, needs its own record of what is done.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tollgate_jobs::{
    Job, Push,
    job::{quota_sync, retention},
};
use tollgate_service::{Error, Service};

pub use crate::calendar::Calendar;

/// How often a worker asks whether a tick is due; also the pause after a failure.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// A job and its times.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Under which the database holds the last tick. Another name is another schedule, which has never run.
    pub name: &'static str,
    /// When it is due, and what becomes of missed ticks.
    pub calendar: Calendar,
    /// The job of a tick.
    pub job: fn(tick: DateTime<Utc>) -> Job,
}

const SCHEDULES: [Schedule; 2] = [
    // Far shorter than a window that matters, far longer than the query takes.
    Schedule {
        name: quota_sync::NAME,
        calendar: Calendar::Every(TimeDelta::seconds(5)),
        job: |_| Job::QuotaSync(quota_sync::Payload {}),
    },
    Schedule {
        name: retention::NAME,
        calendar: Calendar::Daily(NaiveTime::MIN),
        job: |tick| Job::Retention(retention::Payload { at: tick }),
    },
];

impl Schedule {
    /// Pushes what is due now. Returns the last tick that was pushed, by this worker or another.
    ///
    /// # Errors
    /// When the database or the queue is away. Ticks that were pushed before that stay pushed.
    pub async fn catch_up(&self, service: &Service) -> Result<Option<DateTime<Utc>>, Error> {
        let now = service.clock().now();
        let mut last = service.ops().last_tick(self.name).await?;
        while let Some(tick) = self.calendar.due(last, now) {
            let push = Push { id: Some(format!("{}:{}", self.name, tick.timestamp())), ..Push::default() };
            service.queue().push(&(self.job)(tick), push).await?;
            let is_recorded = service.ops().claim_tick(self.name, tick).await?;
            // Another worker was faster, and may be further.
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
        // From memory, so that the database is asked only when a tick has come.
        if !service.is_prepared() || schedule.calendar.due(last, service.clock().now()).is_none() {
            continue;
        }
        match schedule.catch_up(&service).await {
            Ok(pushed) => last = pushed,
            Err(error) => {
                tracing::debug!(%error, schedule = schedule.name, "a tick waits for the database or the queue")
            }
        }
    }
}

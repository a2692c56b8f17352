//! Periodic jobs: pushed once per tick, however many workers there are.
//!
//! A tick is a moment of the clock rounded down to the schedule's interval. A worker claims it in the database by
//! compare-and-set; the one that wins pushes the job.

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_jobs::{
    Job, Push,
    job::{quota_sync, retention},
};
use tollgate_service::Service;

/// How often a worker looks whether a tick has come; also the pause before another try.
const LOOK_EVERY: Duration = Duration::from_millis(500);

struct Schedule {
    name: &'static str,
    every: TimeDelta,
    job: fn(DateTime<Utc>) -> Job,
}

const SCHEDULES: [Schedule; 2] = [
    // Far shorter than a window that matters, far longer than the query takes.
    Schedule { name: quota_sync::NAME, every: TimeDelta::seconds(5), job: |_| Job::QuotaSync(quota_sync::Payload {}) },
    Schedule {
        name: retention::NAME,
        every: TimeDelta::days(1),
        job: |tick| Job::Retention(retention::Payload { at: tick }),
    },
];

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
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        looks.tick().await;
        let Ok(tick) = service.clock().now().duration_trunc(schedule.every) else { continue };
        if seen == Some(tick) || !service.is_prepared() {
            continue;
        }
        match service.claim_tick(schedule.name, tick).await {
            Ok(won) => {
                seen = Some(tick);
                if won {
                    push(&service, schedule, tick, &mut looks).await;
                }
            }
            Err(error) => tracing::debug!(%error, schedule = schedule.name, "a tick waits for the database"),
        }
    }
}

/// Pushes until the queue has it: the tick is claimed, so nobody else will.
async fn push(service: &Service, schedule: &Schedule, tick: DateTime<Utc>, looks: &mut tokio::time::Interval) {
    let id = format!("{}:{}", schedule.name, tick.timestamp());
    loop {
        let push = Push { id: Some(id.clone()), ..Push::default() };
        match service.queue().push(&(schedule.job)(tick), push).await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, schedule = schedule.name, "a tick waits for the queue"),
        }
        looks.tick().await;
    }
}

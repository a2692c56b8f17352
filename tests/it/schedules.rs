//! Jobs that are due at certain times: what is pushed after a time without a worker.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tollgate_domain::Clock;
use tollgate_jobs::{Concurrency, Job, Outcome, job::retention, run};
use tollgate_service::{Config, Role, Service};
use tollgate_tests::{
    BOOTSTRAP_TOKEN,
    app::Stack,
    wait::{HANGS_AFTER, eventually},
};
use tollgate_worker::schedule::{Calendar, Schedule};

/// A service on each stack whose clock stands at a moment in May and for which no worker runs.
async fn on_every_stack(story: impl AsyncFn(&Stack, &Service)) {
    for stack in Stack::every().await {
        eprintln!("on {}", stack.name);
        let journal = TempDir::new().unwrap();
        let mut settings = stack.settings();
        settings.push(("journal.dir", journal.path().to_str().expect("a path in UTF-8")));
        let clock = Clock::manual("2031-05-15T10:20:30Z".parse().unwrap());
        let config = Config::with(&settings).unwrap();
        let service = Service::connect(config, clock, Role::Api).await.unwrap();
        service.prepare(Some(BOOTSTRAP_TOKEN)).await.unwrap();
        story(&stack, &service).await;
        service.close().await;
    }
}

fn schedule(name: &'static str, calendar: Calendar) -> Schedule {
    Schedule { name, calendar, job: |tick| Job::Retention(retention::Payload { at: tick }) }
}

async fn waiting(service: &Service) -> u64 {
    service.queue().depths().await.unwrap().iter().map(|depth| depth.waiting).sum()
}

/// Does all that waits, one job at a time, and returns the days of their ticks in that order.
async fn done(service: &Service) -> Vec<String> {
    let (days, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let noted = Arc::clone(&days);
    let handler = move |job, _context| {
        let Job::Retention(retention::Payload { at }) = job else { panic!("{job:?}") };
        noted.lock().unwrap().push(at.format("%m-%d").to_string());
        async { Outcome::Done }
    };
    let concurrency = Concurrency { critical: 1, default: 1, low: 1 };
    let worker = tokio::spawn(run(service.queue().clone(), handler, concurrency, stop.clone().cancelled_owned()));
    eventually("all is done", HANGS_AFTER, async || {
        let depths = service.queue().depths().await.unwrap();
        depths.iter().all(|depth| depth.waiting + depth.scheduled + depth.leased == 0).then_some(())
    })
    .await;
    stop.cancel();
    worker.await.unwrap().unwrap();
    let days = days.lock().unwrap();
    days.clone()
}

#[tokio::test]
async fn every_month_that_was_missed_is_pushed_in_order_and_once_by_however_many_workers() {
    on_every_stack(async |_, service| {
        let months = schedule("months", Calendar::Monthly(NaiveTime::MIN));
        let first: DateTime<Utc> = "2031-05-01T00:00:00Z".parse().unwrap();
        assert_eq!(months.catch_up(service).await.unwrap(), Some(first));
        assert_eq!(done(service).await, ["05-01"]);
        assert_eq!(months.catch_up(service).await.unwrap(), Some(first));
        assert_eq!(waiting(service).await, 0, "nothing is due twice");

        service.clock().advance(TimeDelta::days(120));
        let workers = (0..8).map(|_| months.catch_up(service));
        for pushed in futures_util::future::join_all(workers).await {
            assert_eq!(pushed.unwrap(), Some("2031-09-01T00:00:00Z".parse().unwrap()));
        }
        assert_eq!(waiting(service).await, 4);
        assert_eq!(done(service).await, ["06-01", "07-01", "08-01", "09-01"]);
    })
    .await;
}

#[tokio::test]
async fn of_the_days_that_were_missed_the_latest_is_pushed_once() {
    on_every_stack(async |_, service| {
        let days = schedule("days", Calendar::Daily(NaiveTime::MIN));
        days.catch_up(service).await.unwrap();
        assert_eq!(done(service).await, ["05-15"]);
        service.clock().advance(TimeDelta::days(10));
        for _ in 0..2 {
            days.catch_up(service).await.unwrap();
        }
        assert_eq!(done(service).await, ["05-25"]);
    })
    .await;
}

#[tokio::test]
async fn a_tick_that_the_queue_refuses_is_pushed_when_it_can_be() {
    on_every_stack(async |stack, service| {
        let Some(redis) = &stack.redis else { return };
        let months = schedule("months", Calendar::Monthly(NaiveTime::MIN));
        redis.command("CONFIG SET maxmemory 1");
        assert!(months.catch_up(service).await.is_err());
        assert_eq!(service.ops().last_tick("months").await.unwrap(), None, "it is not recorded either");
        redis.command("CONFIG SET maxmemory 0");
        months.catch_up(service).await.unwrap();
        assert_eq!(done(service).await, ["05-01"]);
    })
    .await;
}

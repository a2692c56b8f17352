//! What becomes of jobs that fail.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta};
use tollgate_domain::{
    ApiKeyId, BootId, Clock, Counts, TenantId,
    usage::{JournalSpan, KeyUsage, MinuteUsage, UsageBatch, ViolationBatch, ViolationRow, pack},
};
use tollgate_jobs::{Job, Options, Outcome, Priority, Push, Pushed, Queue};
use tollgate_test_servers::redis::Redis;

use crate::support::{
    OPERATOR, Seen, Stage, Worker, add, clean_up, depth_of, quick, settled, sync, total, until, usage, violations,
    with_id,
};

#[tokio::test]
async fn a_failing_job_is_tried_later_each_time_and_then_dead_with_its_cause() {
    for stage in Stage::all(quick()).await {
        let seen = Seen::default();
        let noted = seen.clone();
        let worker = Worker::start(&stage.queue, move |_, context| {
            noted.note(&context);
            async move { Outcome::retry(format!("failure {}", context.attempt)) }
        });
        add(&stage.queue, &sync(), with_id("fails")).await;
        settled(&stage.queue, 1).await;
        worker.stop().await.unwrap();
        assert_eq!(seen.attempts(), [1, 2, 3]);
        let at: Vec<Instant> = seen.all().into_iter().map(|(at, _)| at).collect();
        assert!(at[1] - at[0] >= Duration::from_millis(99), "{:?}", at[1] - at[0]);
        assert!(at[2] - at[1] >= Duration::from_millis(199), "{:?}", at[2] - at[1]);
        let (dead, total) = stage.queue.dead(OPERATOR, 1, 10).await.unwrap();
        assert_eq!(total, 1);
        assert_eq!((dead[0].id.as_str(), dead[0].name.as_str()), ("fails", "quota_sync"));
        assert_eq!((dead[0].attempts, dead[0].cause.as_str()), (3, "failure 3"));
        assert_eq!(dead[0].priority, Priority::Critical);
        assert_eq!(dead[0].payload, serde_json::json!({}));
        assert!(dead[0].died_at - dead[0].pushed_at >= TimeDelta::milliseconds(298));
    }
}

#[tokio::test]
async fn a_job_that_says_when_to_come_back_is_tried_again_then_and_within_a_day() {
    let hour = Duration::from_secs(3_600);
    let server = Redis::start();
    for url in ["memory:".to_owned(), server.url()] {
        for (after, waited) in
            [(hour, hour), (hour * 24 * 365, hour * 24), (Duration::ZERO, Duration::from_millis(200))]
        {
            let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
            let options = Options { namespace: format!("after-{}", after.as_secs()), ..quick() };
            let queue = Queue::connect(&url, options, clock.clone()).await.unwrap();
            let seen = Seen::default();
            let noted = seen.clone();
            let worker = Worker::start(&queue, move |_, context| {
                noted.note(&context);
                let retry = Outcome::Retry { cause: "Retry-After".to_owned(), after: Some(after) };
                async move { if context.id == "later" && context.attempt == 1 { retry } else { Outcome::Done } }
            });
            add(&queue, &usage(1), with_id("later")).await;
            let scheduled = async || total(&queue, |depth| depth.scheduled).await == 1;
            until("the job to wait", scheduled).await;
            clock.advance(TimeDelta::from_std(waited).unwrap() - TimeDelta::milliseconds(1));
            for asked in 1..=3 {
                add(&queue, &usage(2), Push::default()).await;
                until("the worker to ask for what is due", async || seen.count() == 1 + asked).await;
                assert!(scheduled().await, "not a moment earlier than {waited:?}");
            }
            clock.advance(TimeDelta::milliseconds(1));
            settled(&queue, 0).await;
            worker.stop().await.unwrap();
            let ids: Vec<_> = seen.all().into_iter().map(|(_, job)| (job.id == "later", job.attempt)).collect();
            assert_eq!(ids, [(true, 1), (false, 1), (false, 1), (false, 1), (true, 2)]);
        }
    }
}

#[tokio::test]
async fn an_aborted_job_is_dead_at_once() {
    for stage in Stage::all(quick()).await {
        let seen = Seen::default();
        let noted = seen.clone();
        let worker = Worker::start(&stage.queue, move |_, context| {
            noted.note(&context);
            async { Outcome::Abort("no such tenant".to_owned()) }
        });
        add(&stage.queue, &usage(1), Push::default()).await;
        settled(&stage.queue, 1).await;
        worker.stop().await.unwrap();
        assert_eq!(seen.attempts(), [1]);
        let (dead, _) = stage.queue.dead(OPERATOR, 1, 10).await.unwrap();
        assert_eq!((dead[0].attempts, dead[0].cause.as_str()), (1, "no such tenant"));
    }
}

#[tokio::test]
async fn a_panic_is_a_failure_with_its_text_and_ends_no_worker() {
    for stage in Stage::all(quick()).await {
        let worker = Worker::start(&stage.queue, |_, context| {
            assert!(context.attempt > 1, "before the first await");
            async move {
                assert!(context.attempt > 2, "in the future");
                panic!("last of {}", context.attempt);
            }
        });
        add(&stage.queue, &sync(), Push::default()).await;
        settled(&stage.queue, 1).await;
        let (dead, _) = stage.queue.dead(OPERATOR, 1, 1).await.unwrap();
        assert_eq!((dead[0].attempts, dead[0].cause.as_str()), (3, "panicked: last of 3"));
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_dead_are_paged_latest_first_and_replayed() {
    let server = Redis::start();
    for url in ["memory:".to_owned(), server.url()] {
        let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
        let queue = Queue::connect(&url, quick(), clock.clone()).await.unwrap();
        let healed = Arc::new(Mutex::new(false));
        let (seen, asked) = (Seen::default(), Arc::clone(&healed));
        let noted = seen.clone();
        let worker = Worker::start(&queue, move |_, context| {
            noted.note(&context);
            let outcome = if *asked.lock().unwrap() { Outcome::Done } else { Outcome::Abort("broken".to_owned()) };
            async { outcome }
        });
        for number in 0..7 {
            let job = [usage(number), violations(), clean_up()][number as usize % 3].clone();
            add(&queue, &job, with_id(format!("job-{number}"))).await;
            settled(&queue, number + 1).await;
            clock.advance(TimeDelta::milliseconds(1));
        }
        let mut ids = Vec::new();
        for page in 1..=4 {
            let (dead, total) = queue.dead(OPERATOR, page, 3).await.unwrap();
            assert_eq!(total, 7);
            ids.push(dead.into_iter().map(|dead| dead.id).collect::<Vec<_>>().join(" "));
        }
        assert_eq!(ids, ["job-6 job-5 job-4", "job-3 job-2 job-1", "job-0", ""]);

        *healed.lock().unwrap() = true;
        let was = queue.retry(OPERATOR, "job-3").await.unwrap().unwrap();
        assert_eq!((was.attempts, was.cause.as_str(), was.payload["span"]["from"].as_u64()), (1, "broken", Some(3)));
        settled(&queue, 6).await;
        let (_, last) = seen.all().pop().unwrap();
        assert_eq!((last.id.as_str(), last.attempt), ("job-3", 1));
        assert!(queue.retry(OPERATOR, "job-3").await.unwrap().is_none(), "no longer dead");
        assert!(queue.retry(OPERATOR, "never-was").await.unwrap().is_none());
        worker.stop().await.unwrap();
    }
}

fn tenant(number: u128) -> TenantId {
    TenantId(uuid::Uuid::from_u128(number))
}

/// What a key did in a minute; the key's id is its tenant's.
fn usage_of(tenant_id: TenantId) -> KeyUsage {
    let minute = DateTime::UNIX_EPOCH;
    let counts = Counts { allowed: 3, ..Counts::default() };
    let minutes = vec![MinuteUsage { minute, counts, last_at: minute }];
    KeyUsage { tenant_id, api_key_id: ApiKeyId(tenant_id.0), minutes, endpoints: vec![] }
}

fn violation_of(tenant_id: TenantId) -> ViolationRow {
    let at = DateTime::UNIX_EPOCH;
    ViolationRow {
        tenant_id,
        api_key_id: ApiKeyId(tenant_id.0),
        limit_name: "per-hour".to_owned(),
        endpoint: String::new(),
        minute: at,
        ip_address: String::new(),
        count: 1,
        first_at: at,
        last_at: at,
    }
}

#[tokio::test]
async fn a_dead_job_is_of_the_tenants_whose_rows_it_carries_and_each_sees_its_own() {
    let (a, b) = (tenant(0xa), tenant(0xb));
    let span = JournalSpan { boot: BootId::from(uuid::Uuid::nil()), from: 0, to: 1 };
    let usage = Job::UsageApply(UsageBatch { span, chunks: pack(&[usage_of(a), usage_of(b)]) });
    let violations = Job::ViolationRecord(ViolationBatch { span, rows: vec![violation_of(a), violation_of(b)] });
    let of_b = Job::ViolationRecord(ViolationBatch { span, rows: vec![violation_of(b)] });
    for stage in Stage::all(quick()).await {
        let worker = Worker::start(&stage.queue, |_, _| async { Outcome::Abort("broken".to_owned()) });
        let jobs = [("usage", &usage), ("violations", &violations), ("of-b", &of_b), ("sync", &sync())];
        for (id, job) in jobs {
            add(&stage.queue, job, with_id(id)).await;
        }
        settled(&stage.queue, 4).await;
        worker.stop().await.unwrap();
        for (tenant_id, theirs) in [(a, "usage violations"), (b, "of-b usage violations"), (OPERATOR, "sync")] {
            let (dead, total) = stage.queue.dead(tenant_id, 1, 10).await.unwrap();
            let mut ids: Vec<_> = dead.iter().map(|job| job.id.as_str()).collect();
            ids.sort_unstable();
            assert_eq!((ids.join(" ").as_str(), total), (theirs, dead.len() as u64));
            for job in dead.iter().filter(|_| tenant_id != OPERATOR) {
                let payload = job.payload.to_string();
                let other = if tenant_id == a { b } else { a };
                assert!(payload.contains(&tenant_id.to_string()), "{payload}");
                assert!(!payload.contains(&other.to_string()), "{payload}");
            }
            let (page, total) = stage.queue.dead(tenant_id, 2, 1).await.unwrap();
            assert_eq!((page.len() as u64, total), ((total - 1).min(1), dead.len() as u64));
        }
        for (tenant_id, id) in [(a, "of-b"), (a, "sync"), (OPERATOR, "usage"), (OPERATOR, "of-b"), (tenant(7), "usage")]
        {
            assert!(stage.queue.retry(tenant_id, id).await.unwrap().is_none(), "{id}");
        }
        let retried = stage.queue.retry(a, "usage").await.unwrap().unwrap();
        assert!(!retried.payload.to_string().contains(&b.to_string()), "{}", retried.payload);
        assert_eq!(stage.queue.dead(b, 1, 10).await.unwrap().1, 2);
    }
}

#[tokio::test]
async fn only_the_latest_dead_are_kept_and_the_others_counted() {
    let server = Redis::start();
    for url in ["memory:".to_owned(), server.url()] {
        let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
        let queue = Queue::connect(&url, Options { dead_kept: 3, ..quick() }, clock.clone()).await.unwrap();
        let worker = Worker::start(&queue, |_, _| async { Outcome::Abort("broken".to_owned()) });
        for number in 0..5 {
            add(&queue, &usage(number), with_id(format!("job-{number}"))).await;
            settled(&queue, (number + 1).min(3)).await;
            clock.advance(TimeDelta::milliseconds(1));
        }
        let (dead, total) = queue.dead(OPERATOR, 1, 10).await.unwrap();
        assert_eq!(total, 3);
        assert_eq!(dead.iter().map(|dead| dead.id.as_str()).collect::<Vec<_>>(), ["job-4", "job-3", "job-2"]);
        assert_eq!(depth_of(&queue.depths().await.unwrap(), Priority::Critical).dead_dropped, 2);
        assert_eq!(queue.push(&usage(0), with_id("job-0")).await.unwrap(), Pushed::Added, "forgotten altogether");
        worker.stop().await.unwrap();
    }
}

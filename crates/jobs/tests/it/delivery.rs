//! How a job gets from a push to its handler.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta};
use tokio::sync::{Notify, Semaphore};
use tollgate_domain::Clock;
use tollgate_jobs::{Concurrency, Options, Outcome, Priority, Push, Pushed, Queue};
use tollgate_test_servers::redis::Redis;

use crate::support::{
    OPERATOR, Seen, Stage, Worker, add, clean_up, depth_of, quick, settled, sync, total, until, usage, violations,
    with_id,
};

#[tokio::test]
async fn a_pushed_job_is_handled_once_with_what_was_pushed() {
    for stage in Stage::all(Options::default()).await {
        let seen = Seen::default();
        let noted = seen.clone();
        let worker = Worker::start(&stage.queue, move |job, context| {
            assert_eq!(job, usage(42));
            noted.note(&context);
            async { Outcome::Done }
        });
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let push = Push { traceparent: Some(traceparent.to_owned()), ..with_id("forty-two") };
        add(&stage.queue, &usage(42), push).await;
        settled(&stage.queue, 0).await;
        worker.stop().await.unwrap();
        let [(_, context)] = &seen.all()[..] else { panic!("handled {} times", seen.count()) };
        assert_eq!(
            (context.id.as_str(), context.attempt, context.max_attempts),
            ("forty-two", 1, usage(42).max_attempts())
        );
        assert_eq!(context.traceparent.as_deref(), Some(traceparent));
    }
}

#[tokio::test]
async fn a_job_that_a_job_pushes_belongs_to_the_same_trace_and_nonsense_is_none() {
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    for stage in Stage::all(Options::default()).await {
        let seen = Seen::default();
        let (noted, queue) = (seen.clone(), stage.queue.clone());
        let worker = Worker::start(&stage.queue, move |job, context| {
            noted.note(&context);
            let queue = queue.clone();
            async move {
                if job == usage(1) {
                    queue.push(&usage(2), Push { id: Some("second".to_owned()), ..context.push() }).await.unwrap();
                }
                Outcome::Done
            }
        });
        let with_trace = |traceparent: String| Push { traceparent: Some(traceparent), ..Push::default() };
        add(&stage.queue, &usage(1), with_trace(format!("00-{trace_id}-b7ad6b7169203331-01"))).await;
        until("both to be handled", async || seen.count() == 2).await;
        add(&stage.queue, &usage(3), with_trace("\n".repeat(1_000_000))).await;
        settled(&stage.queue, 0).await;
        worker.stop().await.unwrap();
        let traces: Vec<_> = seen.all().into_iter().map(|(_, context)| context.trace_id().map(str::to_owned)).collect();
        assert_eq!(traces, [Some(trace_id.to_owned()), Some(trace_id.to_owned()), None]);
        assert_eq!(seen.all()[2].1.traceparent, None, "nor does it fill the queue");
    }
}

#[tokio::test]
async fn a_busy_priority_holds_up_no_other() {
    for stage in Stage::all(Options::default()).await {
        let release = Arc::new(Semaphore::new(0));
        let seen = Seen::default();
        let (noted, released) = (seen.clone(), Arc::clone(&release));
        let worker = Worker::start(&stage.queue, move |job, context| {
            let (noted, released) = (noted.clone(), Arc::clone(&released));
            async move {
                if job.priority() == Priority::Low {
                    released.acquire().await.unwrap().forget();
                }
                noted.note(&context);
                Outcome::Done
            }
        });
        for _ in 0..20 {
            add(&stage.queue, &clean_up(), Push::default()).await;
        }
        until("low jobs to take all their places", async || {
            depth_of(&stage.queue.depths().await.unwrap(), Priority::Low).leased == Concurrency::default().low as u64
        })
        .await;
        add(&stage.queue, &usage(1), with_id("critical")).await;
        add(&stage.queue, &violations(), with_id("default")).await;
        until("the others to be handled", async || seen.count() == 2).await;
        let ids: HashSet<String> = seen.all().into_iter().map(|(_, context)| context.id).collect();
        assert_eq!(ids, HashSet::from(["critical".to_owned(), "default".to_owned()]));
        release.add_permits(20);
        settled(&stage.queue, 0).await;
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_id_is_not_added_again_while_it_waits_runs_or_is_dead() {
    for stage in Stage::all(quick()).await {
        let queue = &stage.queue;
        let again = async || queue.push(&sync(), with_id("once")).await.unwrap();
        add(queue, &sync(), with_id("once")).await;
        assert_eq!(again().await, Pushed::AlreadyThere, "waiting");
        let (running, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, awaited) = (Arc::clone(&running), Arc::clone(&go));
        let fate = Arc::new(Mutex::new(Outcome::Abort("to be dead".to_owned())));
        let decided = Arc::clone(&fate);
        let worker = Worker::start(queue, move |_, _| {
            let (told, awaited, outcome) = (told.clone(), awaited.clone(), decided.lock().unwrap().clone());
            async move {
                told.notify_one();
                awaited.notified().await;
                outcome
            }
        });
        running.notified().await;
        assert_eq!(again().await, Pushed::AlreadyThere, "running");
        go.notify_one();
        settled(queue, 1).await;
        assert_eq!(again().await, Pushed::AlreadyThere, "dead");
        *fate.lock().unwrap() = Outcome::Done;
        assert!(queue.retry(OPERATOR, "once").await.unwrap().is_some());
        running.notified().await;
        go.notify_one();
        settled(queue, 0).await;
        assert_eq!(again().await, Pushed::Added, "done");
        running.notified().await;
        go.notify_one();
        settled(queue, 0).await;
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn many_are_pushed_at_once_and_answered_in_order() {
    for stage in Stage::all(quick()).await {
        add(&stage.queue, &violations(), with_id("b")).await;
        let push = vec![
            (usage(1), with_id("a")),
            (violations(), with_id("b")),
            (clean_up(), with_id("c")),
            (usage(2), with_id("a")),
            (violations(), with_id("d")),
        ];
        let pushed = stage.queue.push_many(push).await.unwrap();
        let (added, there) = (Pushed::Added, Pushed::AlreadyThere);
        assert_eq!(pushed, [added, there, added, there, added]);
        assert_eq!(
            stage.queue.depths().await.unwrap().iter().map(|depth| depth.waiting).collect::<Vec<_>>(),
            [1, 2, 1]
        );
    }
}

#[tokio::test]
async fn a_scheduled_job_waits_for_its_time() {
    let server = Redis::start();
    for url in ["memory:".to_owned(), server.url()] {
        let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
        let queue = Queue::connect(&url, quick(), clock.clone()).await.unwrap();
        let seen = Seen::default();
        let noted = seen.clone();
        let worker = Worker::start(&queue, move |_, context| {
            noted.note(&context);
            async { Outcome::Done }
        });
        let at = clock.now() + TimeDelta::microseconds(90_000_001);
        add(&queue, &usage(1), Push { run_at: Some(at), ..Push::default() }).await;
        add(&queue, &usage(2), Push::default()).await;
        until("the other to be handled", async || seen.count() == 1).await;
        clock.advance(TimeDelta::seconds(90));
        let depths = queue.depths().await.unwrap();
        let critical = depth_of(&depths, Priority::Critical);
        assert_eq!((critical.waiting, critical.scheduled, critical.oldest_waiting), (0, 1, None));
        add(&queue, &usage(3), Push::default()).await;
        until("the other to be handled", async || seen.count() == 2).await;
        clock.advance(TimeDelta::milliseconds(1));
        until("the scheduled one to be handled", async || seen.count() == 3).await;
        settled(&queue, 0).await;
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_depth_tells_how_long_the_first_in_line_has_waited() {
    let server = Redis::start();
    for url in ["memory:".to_owned(), server.url()] {
        let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
        let queue = Queue::connect(&url, quick(), clock.clone()).await.unwrap();
        add(&queue, &clean_up(), Push::default()).await;
        clock.advance(TimeDelta::milliseconds(1_500));
        add(&queue, &clean_up(), Push::default()).await;
        let depths = queue.depths().await.unwrap();
        let low = depth_of(&depths, Priority::Low);
        assert_eq!((low.waiting, low.oldest_waiting), (2, Some(Duration::from_millis(1_500))));
        assert_eq!(depth_of(&depths, Priority::Critical).oldest_waiting, None);
    }
}

#[tokio::test]
async fn an_idle_queue_delivers_within_50_ms() {
    for stage in Stage::all(Options::default()).await {
        let seen = Seen::default();
        let noted = seen.clone();
        let worker = Worker::start(&stage.queue, move |_, context| {
            noted.note(&context);
            async { Outcome::Done }
        });
        let mut waits = Vec::new();
        for number in 0..51 {
            let pushed = Instant::now();
            add(&stage.queue, &usage(number as u64), Push::default()).await;
            until("the job to be handled", async || seen.count() > number).await;
            waits.push(seen.all()[number].0 - pushed);
        }
        worker.stop().await.unwrap();
        waits.sort();
        println!(
            "{}: p50 {:?}, most {:?}",
            if stage.redis.is_some() { "Redis" } else { "memory" },
            waits[25],
            waits[50]
        );
        assert!(waits[25] < Duration::from_millis(50), "p50 {:?}", waits[25]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_50_000_drains_completely() {
    for stage in Stage::all(Options::default()).await {
        let begun = Instant::now();
        for chunk in 0..10 {
            let jobs = (0..5_000).map(|number| (usage(chunk * 5_000 + number), Push::default())).collect();
            stage.queue.push_many(jobs).await.unwrap();
        }
        let pushed = begun.elapsed();
        assert_eq!(total(&stage.queue, |depth| depth.waiting).await, 50_000);
        let sum = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sum);
        let begun = Instant::now();
        let worker = Worker::start(&stage.queue, move |job, _| {
            if let tollgate_jobs::Job::UsageApply(batch) = job {
                counted.fetch_add(batch.span.to, Ordering::Relaxed);
            }
            async { Outcome::Done }
        });
        // A worker that asked only every 20 ms would take a minute.
        let deadline = begun + Duration::from_secs(40);
        while total(&stage.queue, |depth| depth.waiting + depth.scheduled + depth.leased).await > 0 {
            assert!(Instant::now() < deadline, "not drained after 40 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let store = if stage.redis.is_some() { "Redis" } else { "memory" };
        println!("{store}: 50,000 pushed in {pushed:?}, drained in {:?}", begun.elapsed());
        settled(&stage.queue, 0).await;
        worker.stop().await.unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), (1..=50_000).sum::<u64>(), "each exactly once");
    }
}

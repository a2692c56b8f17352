//! Workers that stop, die, or are many.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use tollgate_jobs::{Concurrency, Options, Outcome, Priority, Push};

use crate::support::{
    OPERATOR, Seen, Stage, Worker, add, clean_up, depth_of, quick, settled, sync, total, until, usage, with_id,
};

#[tokio::test]
async fn a_graceful_stop_finishes_what_runs_and_takes_nothing_new() {
    for stage in Stage::all(quick()).await {
        let (running, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, awaited) = (Arc::clone(&running), Arc::clone(&go));
        let one = Concurrency { critical: 1, default: 0, low: 0 };
        let worker = Worker::start_with(&stage.queue, one, move |_, _| {
            let (told, awaited) = (told.clone(), awaited.clone());
            async move {
                told.notify_one();
                awaited.notified().await;
                Outcome::Done
            }
        });
        add(&stage.queue, &usage(1), Push::default()).await;
        running.notified().await;
        add(&stage.queue, &usage(2), Push::default()).await;
        let stopping = tokio::spawn(worker.stop());
        go.notify_one();
        stopping.await.unwrap().unwrap();
        let depths = stage.queue.depths().await.unwrap();
        let critical = depth_of(&depths, Priority::Critical);
        assert_eq!((critical.waiting, critical.leased), (1, 0));
    }
}

#[tokio::test]
async fn a_graceful_stop_gives_back_at_once_what_does_not_end_in_time() {
    let options = Options { drain: Duration::from_millis(300), lease: Duration::from_secs(60), ..quick() };
    for stage in Stage::all(options).await {
        let running = Arc::new(Notify::new());
        let told = Arc::clone(&running);
        let worker = Worker::start(&stage.queue, move |job, _| {
            let told = told.clone();
            async move {
                if job == usage(1) {
                    told.notify_one();
                    std::future::pending::<()>().await;
                }
                Outcome::Done
            }
        });
        add(&stage.queue, &usage(1), with_id("slow")).await;
        running.notified().await;
        // Ends while the stop waits for the other: its end must not be lost with the worker.
        add(&stage.queue, &usage(2), with_id("fast")).await;
        until("the fast one to be handled", async || {
            total(&stage.queue, |depth| depth.leased + depth.waiting).await == 1
        })
        .await;
        worker.stop().await.unwrap();
        let seen = Seen::default();
        let noted = seen.clone();
        let next = Worker::start(&stage.queue, move |_, context| {
            noted.note(&context);
            async { Outcome::Done }
        });
        settled(&stage.queue, 0).await;
        next.stop().await.unwrap();
        let [(_, context)] = &seen.all()[..] else { panic!("handled {} times", seen.count()) };
        assert_eq!((context.id.as_str(), context.attempt), ("slow", 1), "given back without counting an attempt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_never_run_one_job_at_the_same_time() {
    let options = Options { lease: Duration::from_millis(1_500), ..quick() };
    for stage in Stage::all(options.clone()).await {
        let running = Arc::new(Mutex::new(HashSet::new()));
        let seen = Seen::default();
        let mut workers = Vec::new();
        for queue in [stage.queue.clone(), stage.other_process(options.clone()).await] {
            let (running, noted) = (Arc::clone(&running), seen.clone());
            workers.push(Worker::start(&queue, move |job, context| {
                let (running, noted) = (Arc::clone(&running), noted.clone());
                async move {
                    assert!(running.lock().unwrap().insert(context.id.clone()), "{} runs twice", context.id);
                    noted.note(&context);
                    // The low ones outlive their lease twice over: renewing keeps them.
                    let long = if job.priority() == Priority::Low { 3_500 } else { 3 };
                    tokio::time::sleep(Duration::from_millis(long)).await;
                    running.lock().unwrap().remove(&context.id);
                    Outcome::Done
                }
            }));
        }
        let mut jobs: Vec<_> = (0..400).map(|number| (usage(number), Push::default())).collect();
        jobs.extend((0..4).map(|_| (clean_up(), Push::default())));
        stage.queue.push_many(jobs).await.unwrap();
        settled(&stage.queue, 0).await;
        assert_eq!(seen.count(), 404);
        assert!(seen.attempts().iter().all(|attempt| *attempt == 1));
        for worker in workers {
            worker.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_workers_job_is_taken_over_when_its_lease_is_out_and_the_attempt_counts() {
    for stage in Stage::all(quick()).await {
        let running = Arc::new(Notify::new());
        let told = Arc::clone(&running);
        let killed = Worker::start(&stage.queue, move |_, _| {
            let told = told.clone();
            async move {
                told.notify_one();
                std::future::pending().await
            }
        });
        add(&stage.queue, &sync(), Push::default()).await;
        running.notified().await;
        killed.kill().await;
        let died = Instant::now();
        let seen = Seen::default();
        let noted = seen.clone();
        let next = Worker::start(&stage.other_process(quick()).await, move |_, context| {
            noted.note(&context);
            async { Outcome::Done }
        });
        settled(&stage.queue, 0).await;
        next.stop().await.unwrap();
        assert_eq!(seen.attempts(), [2]);
        let taken_over = seen.all()[0].0 - died;
        assert!(taken_over < quick().lease * 3, "{taken_over:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_dropped_drops_its_handlers() {
    let stage = Stage::memory(quick()).await;
    let running = Arc::new(Notify::new());
    let (held, mut dropped) = watch::channel(());
    let (told, held) = (Arc::clone(&running), Mutex::new(Some(held)));
    let worker = Worker::start(&stage.queue, move |_, _| {
        let (told, held) = (Arc::clone(&told), held.lock().unwrap().take());
        async move {
            told.notify_one();
            std::future::pending::<()>().await;
            drop(held);
            Outcome::Done
        }
    });
    add(&stage.queue, &usage(1), Push::default()).await;
    running.notified().await;
    worker.kill().await;
    let closed = tokio::time::timeout(Duration::from_secs(10), dropped.changed()).await;
    assert!(closed.expect("the handler still runs").is_err());
}

#[tokio::test]
async fn a_job_that_kills_every_worker_ends_among_the_dead() {
    let options = Options { lease: Duration::from_millis(200), ..quick() };
    for stage in Stage::all(options).await {
        add(&stage.queue, &sync(), Push::default()).await;
        for _ in 0..sync().max_attempts() {
            let running = Arc::new(Notify::new());
            let told = Arc::clone(&running);
            let worker = Worker::start(&stage.queue, move |_, _| {
                told.notify_one();
                std::future::pending()
            });
            running.notified().await;
            worker.kill().await;
        }
        let last = Worker::start(&stage.queue, |_, _| async { Outcome::Done });
        settled(&stage.queue, 1).await;
        last.stop().await.unwrap();
        let (dead, _) = stage.queue.dead(OPERATOR, 1, 1).await.unwrap();
        assert_eq!(dead[0].attempts, 3);
        assert!(dead[0].cause.contains("lease ran out"), "{}", dead[0].cause);
    }
}

//! What a Redis can do to its users, and that the queue outlives it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use redis::AsyncCommands;
use tokio::sync::{Notify, Semaphore, watch};
use tollgate_domain::Clock;
use tollgate_jobs::{Concurrency, Error, Options, Outcome, Push, Pushed, Queue};
use tollgate_test_servers::redis::Redis;

use crate::support::{
    OPERATOR, Seen, Stage, Worker, add, clean_up, proxy::Proxy, quick, settled, sync, total, until, usage, violations,
    with_id,
};

/// A worker whose handler notes the job and is done.
fn noting(queue: &Queue) -> (Worker, Seen) {
    let seen = Seen::default();
    let noted = seen.clone();
    let worker = Worker::start(queue, move |_, context| {
        noted.note(&context);
        async { Outcome::Done }
    });
    (worker, seen)
}

/// A worker whose handler tells when it runs and waits for a permit; and the jobs that it finished.
fn held(queue: &Queue) -> (Worker, Arc<Notify>, Arc<Semaphore>, Seen) {
    let (running, permits, seen) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)), Seen::default());
    let (told, awaited, noted) = (Arc::clone(&running), Arc::clone(&permits), seen.clone());
    let worker = Worker::start(queue, move |_, context| {
        let (told, awaited, noted) = (Arc::clone(&told), Arc::clone(&awaited), noted.clone());
        async move {
            told.notify_one();
            awaited.acquire().await.unwrap().forget();
            noted.note(&context);
            Outcome::Done
        }
    });
    (worker, running, permits, seen)
}

/// Pushes until Redis confirms, as a shipper does.
async fn push_until_added(queue: &Queue, id: &str) {
    until("a push to be confirmed", async || queue.push(&usage(1), with_id(id)).await.is_ok()).await;
}

#[tokio::test]
async fn a_flushed_database_stops_no_worker_and_no_running_job() {
    let stage = Stage::redis(quick()).await;
    let (worker, running, permits, seen) = held(&stage.queue);
    add(&stage.queue, &usage(1), with_id("running")).await;
    running.notified().await;
    let server = stage.redis.as_ref().unwrap();
    server.query::<()>("FLUSHALL").await;
    server.query::<()>("SCRIPT FLUSH").await;
    server.query::<()>("CONFIG RESETSTAT").await;
    // While nothing is due, only a renewal reads what is known of a job.
    until("the lease to be renewed, which finds nothing", async || {
        server.query::<String>("INFO commandstats").await.contains("cmdstat_hget:")
    })
    .await;
    permits.add_permits(1);
    until("the running job to finish", async || seen.count() == 1).await;
    permits.add_permits(1);
    add(&stage.queue, &usage(1), with_id("running")).await;
    until("the job pushed again to be handled", async || seen.count() == 2).await;
    settled(&stage.queue, 0).await;
    worker.stop().await.unwrap();
    assert_eq!(seen.attempts(), [1, 1]);
}

#[tokio::test]
async fn a_redis_that_comes_late_or_again_is_used_when_it_is_there() {
    let mut server = Redis::start();
    server.stop();
    let queue = Queue::connect(&server.url(), quick(), Clock::System).await.unwrap();
    let (worker, seen) = noting(&queue);
    assert!(matches!(queue.push(&usage(1), Push::default()).await, Err(Error::Redis(_))));
    assert!(matches!(queue.ping().await, Err(Error::Redis(_))));
    assert!(matches!(queue.check_eviction().await, Err(Error::Redis(_))));
    server.restart();
    for round in 1..=3 {
        push_until_added(&queue, "again").await;
        until("the job to be handled", async || seen.count() == round).await;
        settled(&queue, 0).await;
        server.stop();
        assert!(queue.push(&usage(1), Push::default()).await.is_err());
        server.restart();
    }
    push_until_added(&queue, "last").await;
    settled(&queue, 0).await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_answers_nothing_is_replaced() {
    let server = Redis::start();
    let proxy = Proxy::to(server.port()).await;
    let queue = Queue::connect(&proxy.url(), quick(), Clock::System).await.unwrap();
    let (worker, seen) = noting(&queue);
    push_until_added(&queue, "before").await;
    until("the job to be handled", async || seen.count() == 1).await;
    proxy.silence();
    let silent = Instant::now();
    push_until_added(&queue, "after").await;
    until("the job to be handled", async || seen.count() >= 2).await;
    // TCP alone would take a quarter of an hour to notice.
    assert!(silent.elapsed() < Duration::from_secs(15), "{:?}", silent.elapsed());
    settled(&queue, 0).await;
    worker.stop().await.unwrap();
    // Though the end of the first may not have been heard before its lease ran out.
    let ids: Vec<String> = seen.all().into_iter().map(|(_, job)| job.id).collect();
    assert_eq!(ids, ["before", "after"]);
}

#[tokio::test]
async fn a_redis_that_refuses_the_connection_is_asked_again() {
    let server = Redis::start();
    let mut only = server.connection().await;
    let mut max_clients = async |count: u32| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxclients").arg(count).query_async::<()>(&mut only).await.unwrap();
    };
    max_clients(1).await;
    let queue = Queue::connect(&server.url(), quick(), Clock::System).await.unwrap();
    let (worker, seen) = noting(&queue);
    for _ in 0..3 {
        assert!(matches!(queue.ping().await, Err(Error::Redis(_))));
    }
    max_clients(100).await;
    push_until_added(&queue, "after").await;
    until("the job to be handled", async || seen.count() == 1).await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_that_ends_while_redis_is_paused_is_handled_once() {
    // The lease is long, so the news does not come from its renewal.
    let stage = Stage::redis(Options { lease: Duration::from_secs(300), ..Options::default() }).await;
    let (worker, running, permits, seen) = held(&stage.queue);
    add(&stage.queue, &usage(1), Push::default()).await;
    running.notified().await;
    stage.redis.as_ref().unwrap().query::<()>("CLIENT PAUSE 3500 ALL").await;
    permits.add_permits(1);
    until("the job to end", async || seen.count() == 1).await;
    until("Redis to go on", async || stage.queue.ping().await.is_ok()).await;
    settled(&stage.queue, 0).await;
    permits.add_permits(1);
    add(&stage.queue, &usage(1), Push::default()).await;
    settled(&stage.queue, 0).await;
    worker.stop().await.unwrap();
    assert_eq!(seen.attempts(), [1, 1]);
}

#[tokio::test]
async fn a_worker_whose_lease_ran_out_stops_the_job_that_another_has() {
    let stage = Stage::redis(quick()).await;
    let running = Arc::new(Notify::new());
    let (dropped, mut cut) = watch::channel(());
    let told = Arc::clone(&running);
    let dropped = Mutex::new(Some(dropped));
    let one = Concurrency { critical: 1, default: 0, low: 0 };
    let stalled = Worker::start_with(&stage.queue, one, move |_, _| {
        let (told, dropped) = (Arc::clone(&told), dropped.lock().unwrap().take());
        async move {
            told.notify_one();
            std::future::pending::<()>().await;
            drop(dropped);
            Outcome::Done
        }
    });
    add(&stage.queue, &usage(1), Push::default()).await;
    running.notified().await;
    let (next, next_running, permits, taken_over) = held(&stage.other_process(quick()).await);
    let server = stage.redis.as_ref().unwrap();
    until("the other to have the job", async || {
        // As if it had not renewed for a while. It may still do so before the other sees it.
        for id in server.query::<Vec<String>>("ZRANGE {tg:q:critical}:lease 0 -1").await {
            server.query::<()>(&format!("ZADD {{tg:q:critical}}:lease 0 {id}")).await;
        }
        tokio::time::timeout(Duration::from_millis(50), next_running.notified()).await.is_ok()
    })
    .await;
    // Closed when the handler is dropped: long before its job's own timeout.
    let closed = tokio::time::timeout(Duration::from_secs(10), cut.changed()).await;
    assert!(closed.expect("the job still runs").is_err());
    permits.add_permits(1);
    settled(&stage.queue, 0).await;
    assert_eq!(taken_over.count(), 1);
    stalled.stop().await.unwrap();
    next.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_while_redis_is_away_ends_and_says_so() {
    let mut stage = Stage::redis(Options { drain: Duration::from_millis(100), ..quick() }).await;
    let (worker, running, _permits, _) = held(&stage.queue);
    add(&stage.queue, &usage(1), Push::default()).await;
    running.notified().await;
    stage.server().stop();
    assert!(matches!(worker.stop().await, Err(Error::Redis(_))));
}

#[tokio::test]
async fn a_full_redis_refuses_and_loses_nothing() {
    let stage = Stage::redis(quick()).await;
    let server = stage.redis.as_ref().unwrap();
    add(&stage.queue, &usage(1), Push::default()).await;
    add(&stage.queue, &clean_up(), Push::default()).await;
    server.query::<()>("CONFIG SET maxmemory 1").await;
    let full = stage.queue.push(&usage(2), Push::default()).await.unwrap_err();
    assert!(full.to_string().contains("OOM"), "{full}");
    let (worker, seen) = noting(&stage.queue);
    server.query::<()>("CONFIG RESETSTAT").await;
    until("the worker to have asked for jobs three times and been refused", async || {
        let refusals = server.query::<String>("INFO errorstats").await;
        let refusals = refusals.lines().find_map(|line| line.strip_prefix("errorstat_OOM:count="));
        refusals.is_some_and(|count| count.trim().parse::<u64>().unwrap() >= 3)
    })
    .await;
    assert_eq!((seen.count(), total(&stage.queue, |depth| depth.waiting).await), (0, 2));
    server.query::<()>("CONFIG SET maxmemory 0").await;
    settled(&stage.queue, 0).await;
    worker.stop().await.unwrap();
    assert_eq!(seen.attempts(), [1, 1]);
}

#[tokio::test]
async fn poison_is_dead_with_a_cause_and_the_others_flow() {
    let stage = Stage::redis(quick()).await;
    let mut connection = stage.redis.as_ref().unwrap().connection().await;
    for (id, body, meta) in [
        ("not-json", "{\"v\":1,", Some("0 5 1700000000000 -")),
        ("unknown-job", r#"{"v":1,"job":{"name":"of_the_past","payload":{"a":1}}}"#, Some("0 5 1700000000000 -")),
        ("no-meta", "", None),
        ("garbled-meta", "[]", Some("gibberish")),
    ] {
        let _: () = connection.hset("{tg:q:critical}:body", id, body).await.unwrap();
        if let Some(meta) = meta {
            let _: () = connection.hset("{tg:q:critical}:meta", id, meta).await.unwrap();
        }
        let _: () = connection.zadd("{tg:q:critical}:due", id, 0).await.unwrap();
    }
    let _: () = connection.zadd("{tg:q:critical}:due", "nothing-at-all", 0).await.unwrap();
    let _: () = connection.zadd("{tg:q:critical}:lease", "nothing-leased", 0).await.unwrap();
    let (worker, seen) = noting(&stage.queue);
    add(&stage.queue, &usage(1), with_id("sound")).await;
    settled(&stage.queue, 4).await;
    worker.stop().await.unwrap();
    assert_eq!(seen.all().iter().map(|(_, context)| context.id.as_str()).collect::<Vec<_>>(), ["sound"]);
    let (dead, _) = stage.queue.dead(OPERATOR, 1, 10).await.unwrap();
    for job in &dead {
        assert!(job.cause.contains("cannot be decoded"), "{}: {}", job.id, job.cause);
        assert_eq!(job.attempts, 1, "{}", job.id);
    }
    let unknown = dead.iter().find(|job| job.id == "unknown-job").unwrap();
    // Nobody knows whose rows its payload holds.
    assert_eq!((unknown.name.as_str(), &unknown.payload), ("of_the_past", &serde_json::Value::Null));
    assert_eq!(dead.iter().find(|job| job.id == "not-json").unwrap().name, "unreadable");
}

#[tokio::test]
async fn every_key_of_a_priority_is_in_one_slot_and_nothing_is_left_behind() {
    let stage = Stage::redis(quick()).await;
    let causes = Arc::new(Mutex::new(0));
    let worker = Worker::start(&stage.queue, move |_, _| {
        *causes.lock().unwrap() += 1;
        let outcome = match *causes.lock().unwrap() % 3 {
            0 => Outcome::Done,
            1 => Outcome::retry("again"),
            _ => Outcome::Abort("never".to_owned()),
        };
        async { outcome }
    });
    for job in [usage(1), sync(), violations(), clean_up(), usage(2), sync()] {
        add(&stage.queue, &job, Push::default()).await;
    }
    until("all to have ended", async || {
        total(&stage.queue, |depth| depth.waiting + depth.scheduled + depth.leased).await == 0
    })
    .await;
    worker.stop().await.unwrap();
    let server = stage.redis.as_ref().unwrap();
    let (dead, _) = stage.queue.dead(OPERATOR, 1, 100).await.unwrap();
    assert!(!dead.is_empty());
    for key in server.query::<Vec<String>>("KEYS *").await {
        let (tag, part) = key.split_once("}:").unwrap();
        assert!(["{tg:q:critical", "{tg:q:default", "{tg:q:low"].contains(&tag), "{key}");
        let (kind, per_job) = match part {
            "dead" => ("ZCARD", true),
            "body" | "meta" | "cause" | "tenants" => ("HLEN", true),
            "due" | "lease" => ("ZCARD", false),
            _ => panic!("{key}"),
        };
        let dead = dead.iter().filter(|job| tag.ends_with(job.priority.as_str())).count();
        let expected = if per_job { dead } else { 0 };
        assert_eq!(server.query::<usize>(&format!("{kind} {key}")).await, expected, "{key}");
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_with_what_to_set() {
    let stage = Stage::redis(quick()).await;
    let server = stage.redis.as_ref().unwrap();
    stage.queue.check_eviction().await.unwrap();
    server.query::<()>("CONFIG SET maxmemory-policy allkeys-lru").await;
    let refused = stage.queue.check_eviction().await.unwrap_err().to_string();
    assert!(refused.contains("allkeys-lru") && refused.contains("CONFIG SET maxmemory-policy noeviction"), "{refused}");

    server.query::<()>("ACL SETUSER limited on >secret ~* +@all -config").await;
    let limited = server.url().replace("redis://", "redis://limited:secret@");
    let limited = Queue::connect(&limited, quick(), Clock::System).await.unwrap();
    assert!(matches!(limited.check_eviction().await, Err(Error::Evicts { policy }) if policy == "allkeys-lru"));
    server.query::<()>("CONFIG SET maxmemory-policy noeviction").await;
    limited.check_eviction().await.unwrap();
    server.query::<()>("ACL SETUSER limited -info").await;
    assert!(matches!(limited.check_eviction().await, Err(Error::EvictionUnknown)));

    let memory = Stage::memory(quick()).await;
    memory.queue.check_eviction().await.unwrap();
}

#[tokio::test]
async fn only_the_three_kinds_of_queue_are_taken_and_no_password_is_repeated() {
    let Err(error) = Queue::connect("amqp://user:hunter2@host/", quick(), Clock::System).await else {
        panic!("taken");
    };
    let text = format!("{error} {error:?}");
    assert!(text.contains("`amqp`") && text.contains("memory:") && text.contains("rediss://"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let Err(error) = Queue::connect("redis://user:hunter2@:port/", quick(), Clock::System).await else {
        panic!("taken");
    };
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn two_namespaces_in_one_database_are_two_queues() {
    let stage = Stage::redis(quick()).await;
    let other = stage.other_process(Options { namespace: "other".to_owned(), ..quick() }).await;
    add(&stage.queue, &usage(1), with_id("one")).await;
    assert_eq!(other.push(&usage(1), with_id("one")).await.unwrap(), Pushed::Added);
    assert_eq!(total(&other, |depth| depth.waiting).await, 1);
}

//! `/api/v1/jobs`: the dead letters.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{
    ApiKeyId, BootId, Clock, TenantId,
    usage::{JournalSpan, ViolationBatch, ViolationRow},
};
use tollgate_jobs::{Concurrency, Job, Options, Outcome, Push, Queue, job::retention, run};
use tollgate_tests::{
    app::{Stack, on_every_stack},
    process::Process,
    wait::{HANGS_AFTER, eventually},
};

use crate::processes::{api_and_worker, key_on, settings};

#[tokio::test]
async fn nothing_is_dead_in_a_healthy_service_and_an_unknown_job_cannot_be_retried() {
    on_every_stack(async |app| {
        let dead = app.admin.get("/api/v1/jobs/dead").await.expect(200);
        assert_eq!(dead.body, json!({"data": [], "pagination": {"page": 1, "limit": 20, "total": 0, "pages": 0}}));
        for id in [app.clock.new_id().to_string(), "nonsense".into()] {
            app.admin.post(&format!("/api/v1/jobs/{id}/retry"), &json!({})).await.expect_problem(404, "NOT_FOUND");
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_go_on_beside_usage_and_leave_no_backlog() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.validate(&key).await.expect(200);
        app.used_becomes(&key, 1).await;
        let waiting = |line: &&str| line.starts_with("tollgate_queue") && line.contains("waiting");
        eventually("the queue is empty", HANGS_AFTER, async || {
            let metrics = app.anyone().get("/metrics").await.expect(200).text;
            let mut gauges = metrics.lines().filter(waiting).peekable();
            gauges.peek().expect("a gauge of waiting jobs");
            gauges.all(|line| line.ends_with(" 0")).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_job_is_shown_with_its_cause_and_done_when_it_is_retried() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let mut settings = settings(&stack, &journal);
    settings.push(("worker.in_process", "false"));
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let admin = api.admin();
    let total = async || admin.get("/api/v1/jobs/dead").await.expect(200).body["pagination"]["total"].as_u64();

    // A worker whose every job fails for good, on the queue of the service.
    let url = stack.redis.as_ref().unwrap().url_of(1);
    let queue = Queue::connect(&url, Options::default(), Clock::System).await.unwrap();
    let job = Job::Retention(retention::Payload { at: Clock::System.now() });
    queue.push(&job, Push::default()).await.unwrap();
    let stop = CancellationToken::new();
    let concurrency = Concurrency { critical: 1, default: 1, low: 1 };
    let failing = |_job, _context| async { Outcome::Abort("the disk is full".into()) };
    let worker = tokio::spawn(run(queue.clone(), failing, concurrency, stop.clone().cancelled_owned()));
    eventually("the job is dead", HANGS_AFTER, async || (total().await == Some(1)).then_some(())).await;
    stop.cancel();
    worker.await.unwrap().unwrap();

    let dead = admin.get("/api/v1/jobs/dead").await.expect(200);
    let shown = &dead.data()[0];
    assert_eq!((&shown["name"], &shown["cause"]), (&json!("retention"), &json!("the disk is full")), "{}", dead.text);
    let retry = format!("/api/v1/jobs/{}/retry", shown["id"].as_str().unwrap());
    admin.post(&retry, &json!({})).await.expect(200);
    assert_eq!(total().await, Some(0));
    admin.post(&retry, &json!({})).await.expect_problem(404, "NOT_FOUND");

    let mut worker = Process::worker(&settings);
    worker.start_ready().await;
    eventually("a sound worker does it", HANGS_AFTER, async || {
        let depths = queue.depths().await.unwrap();
        depths.iter().all(|depth| depth.waiting + depth.scheduled + depth.leased == 0).then_some(())
    })
    .await;
    assert_eq!(total().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_attempt_is_one_line_of_the_log_and_carries_the_trace_of_whoever_pushed() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let (api, worker) = api_and_worker(&stack, &journal).await;
    let key = key_on(&api.admin(), "free").await;
    let at = Clock::System.now();
    let row = ViolationRow {
        tenant_id: TenantId::DEFAULT,
        api_key_id: ApiKeyId(key.id.parse().unwrap()),
        limit_name: "per-hour".into(),
        endpoint: String::new(),
        minute: at,
        ip_address: String::new(),
        // The database takes none below 0.
        count: -1,
        first_at: at,
        last_at: at,
    };
    let span = JournalSpan { boot: BootId(Clock::System.new_id()), from: 0, to: 1 };
    let job = Job::ViolationRecord(ViolationBatch { span, rows: vec![row] });
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = Some(format!("00-{trace_id}-b7ad6b7169203331-01"));
    let queue =
        Queue::connect(&stack.redis.as_ref().unwrap().url_of(1), Options::default(), Clock::System).await.unwrap();
    queue.push(&job, Push { id: Some("bad".into()), traceparent, ..Push::default() }).await.unwrap();
    eventually("it has failed three times", HANGS_AFTER, async || {
        (worker.lines_with("\"attempt\":3") > 0).then_some(())
    })
    .await;
    let text = worker.text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let about: Vec<_> = lines.filter(|line| line["id"] == "bad" || line["trace_id"] == trace_id).collect();
    for attempt in 1..=3 {
        let of_attempt: Vec<_> = about.iter().filter(|line| line["attempt"] == attempt).collect();
        let [line] = of_attempt[..] else { panic!("{of_attempt:?}") };
        assert_eq!((&line["level"], &line["job"]), (&json!("WARN"), &json!("violation_record")), "{line}");
        assert_eq!((&line["id"], &line["trace_id"]), (&json!("bad"), &json!(trace_id)), "{line}");
        assert!(line["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{line}");
    }
}

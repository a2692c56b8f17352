//! A queue that nobody worked on, and one worker that comes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tollgate_domain::{
    ApiKeyId, BootId, Clock, TenantId,
    usage::{Counts, JournalSpan, KeyUsage, MinuteUsage, UsageBatch, pack},
};
use tollgate_jobs::{Job, Options, Push, Queue};
use tollgate_tests::{app::Stack, process::Process, wait::eventually};

use crate::processes::{billed_becomes, boundless_key, settings};

const JOBS: usize = 50_000;
/// Half of the 1,000 per second that a debug build reaches on two busy cores.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);
/// What a worker may hold in memory while it drains.
const MAX_RESIDENT_KIB: u64 = 200 * 1_024;

/// A unit of usage of the one key, in a span of a journal of its own: it counts however the jobs are ordered.
fn unit_of_usage(key: ApiKeyId, now: DateTime<Utc>, clock: &Clock) -> Job {
    let minute = now.date_naive().and_hms_opt(0, 0, 0).expect("midnight").and_utc();
    let counts = Counts { allowed: 1, ..Counts::default() };
    let minutes = vec![MinuteUsage { minute, counts, last_at: now }];
    let usage = KeyUsage { tenant_id: TenantId::DEFAULT, api_key_id: key, minutes, endpoints: Vec::new() };
    let span = JournalSpan { boot: BootId(clock.new_id()), from: 0, to: 1 };
    Job::UsageApply(UsageBatch { span, chunks: pack(&[usage]) })
}

/// `VmHWM` of `/proc`: the most it ever held.
fn most_resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("kibibytes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_jobs_wait_and_one_worker_does_them_all() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let mut settings = settings(&stack, &journal);
    settings.push(("worker.in_process", "false"));
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let key = boundless_key(&api.admin()).await;

    let clock = Clock::System;
    let queue_url = stack.redis.as_ref().unwrap().url_of(1);
    let queue = Queue::connect(&queue_url, Options::default(), clock.clone()).await.unwrap();
    let id: ApiKeyId = key.id.parse().unwrap();
    for _ in 0..JOBS / 1_000 {
        let now = clock.now();
        let jobs = (0..1_000).map(|_| (unit_of_usage(id, now, &clock), Push::default())).collect();
        queue.push_many(jobs).await.unwrap();
    }
    let waiting: u64 = queue.depths().await.unwrap().iter().map(|depth| depth.waiting).sum();
    assert!(waiting >= JOBS as u64, "{waiting} wait");

    let mut worker = Process::worker(&settings);
    worker.start_ready().await;
    eventually("the queue is empty", DRAINED_WITHIN, async || {
        let depths = queue.depths().await.unwrap();
        assert!(depths.iter().all(|depth| depth.dead == 0), "{depths:?}");
        depths.iter().all(|depth| depth.waiting + depth.scheduled + depth.leased == 0).then_some(())
    })
    .await;
    billed_becomes(&api.admin(), &key, JOBS as u64).await;
    let resident = most_resident_kib(worker.pid());
    assert!(resident < MAX_RESIDENT_KIB, "{resident} KiB");
    assert!(worker.stop().success());
}

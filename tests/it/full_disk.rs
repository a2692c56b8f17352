//! A journal that cannot be written: what a check took of its limits and of the quota is given back, and what was not answered
//! is not billed.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::{
    answer::Client,
    app::{Key, Stack},
    process::{Process, small_disks_are_possible},
    wait::{HANGS_AFTER, eventually},
};

use crate::processes::{billed_becomes, settings};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";
const CHECK: &str = "/api/v1/rate-limit/check";
const BATCH: &str = "/api/v1/rate-limit/check-batch";
/// Two segments of the journal and something to spare.
const DISK_MIB: u32 = 3;
/// A batch of checks whose records fill a segment soon: what fits into a body of 64 KiB.
const CHECKS_PER_BATCH: usize = 150;
/// More than two segments hold.
const BATCHES: usize = 80;
/// So long that none ends during a story.
const YEAR: u64 = 366 * 86_400;

/// A key with a limit of each reach: its own, one that its owner's keys share, and a quota that blocks.
async fn limited_key(admin: &Client) -> Key {
    let limits = json!([
        {"name": "own", "algorithm": "fixed_window", "limit": 1_000_000, "window": YEAR},
        {"name": "sliding", "algorithm": "sliding_window", "limit": 1_000_000, "window": YEAR, "cost": 2},
        {"name": "shared", "algorithm": "fixed_window", "limit": 1_000_000, "window": YEAR, "per": "owner"},
    ]);
    let prices = json!({"currency": "USD", "base": "0", "overage_unit": "0.001"});
    let quota = json!({"limit": 1_000_000, "overage": "block"});
    let plan = json!({"name": "limited", "limits": limits, "quota": quota, "prices": prices});
    admin.post("/api/v1/plans", &plan).await.expect(201);
    let body = json!({"name": "a story's key", "tier": "limited", "owner_id": "acme"});
    let record = admin.post("/api/v1/api-keys", &body).await.expect(201).data().clone();
    let text = |member: &str| record[member].as_str().expect("a text").to_owned();
    Key { id: text("id"), secret: text("key"), record }
}

/// What the key's limits and its quota count as used, each in units of requests.
async fn used(admin: &Client, key: &Key) -> [u64; 4] {
    let body = json!({"api_key_id": key.id, "requests": 0});
    let preview = admin.post("/api/v1/rate-limit/preview", &body).await.expect(200);
    let of = |name: &str| {
        let limits = preview.data()["limits"].as_array().expect("limits");
        let limit = limits.iter().find(|limit| limit["name"] == name).expect("a limit");
        limit["used"].as_u64().expect("a count")
    };
    let quota = preview.data()["quota"]["used"].as_u64().expect("a count");
    [of("own"), of("sliding") / 2, of("shared"), quota]
}

/// One check by each of the doors that consume, of so many units together; how many of them were let through.
async fn by_every_door(api: &Process, key: &Key) -> (u64, u64) {
    let mut sums = (0, 0);
    let holder = api.client().with_credential(&key.secret);
    let endpoint = "e".repeat(256);
    let check = json!({"api_key_id": key.id, "requests": 2, "endpoint": endpoint});
    let answers = [
        holder.post(VALIDATE, &json!({"requests": 2, "endpoint": endpoint})).await,
        api.admin().post(CHECK, &check).await,
    ];
    for answer in answers {
        assert!([200, 503].contains(&answer.status), "{}", answer.text);
        sums = (sums.0 + if answer.status == 200 { 2 } else { 0 }, sums.1 + u64::from(answer.status == 503));
    }
    let (allowed, refused) = batch(&api.admin(), &json!([check])).await;
    (sums.0 + 2 * allowed, sums.1 + refused)
}

/// How many checks of a batch were let through, and how many could not be written down.
async fn batch(admin: &Client, checks: &Value) -> (u64, u64) {
    let answer = admin.post(BATCH, &json!({"checks": checks})).await.expect(200);
    let answers = answer.data().as_array().expect("answers");
    let allowed = answers.iter().filter(|one| one["allowed"] == true).count();
    let away = answers.iter().filter(|one| one["code"] == "UNAVAILABLE").count();
    assert_eq!(allowed + away, answers.len(), "{}", answer.text);
    (allowed as u64, away as u64)
}

/// Fills the rest of the journal, then goes on asking; returns the units that were let through.
async fn check_until_full(api: &Process, key: &Key) -> u64 {
    let (admin, endpoint) = (api.admin(), "e".repeat(256));
    let checks = json!(vec![json!({"api_key_id": key.id, "endpoint": endpoint}); CHECKS_PER_BATCH]);
    let mut admitted = 0;
    for _ in 0..BATCHES {
        let (allowed, away) = batch(&admin, &checks).await;
        admitted += allowed;
        if allowed == 0 {
            assert!(away > 0);
            return admitted;
        }
    }
    panic!("{admitted} records fitted onto a disk of {DISK_MIB} MiB");
}

async fn a_full_disk_takes_nothing(stack: &Stack) {
    let journal = TempDir::new().unwrap();
    let mut api = Process::api(&settings(stack, &journal)).with_small_disk(journal.path(), DISK_MIB);
    api.start_ready().await;
    let (admin, key) = (api.admin(), limited_key(&api.admin()).await);
    api.fill_disk();
    let mut admitted = check_until_full(&api, &key).await;
    assert_eq!(used(&admin, &key).await, [admitted; 4], "when the disk became full");
    let mut unwritten = 0;
    for _ in 0..50 {
        let (units, refused) = by_every_door(&api, &key).await;
        admitted += units;
        unwritten += refused;
    }
    assert!(unwritten >= 100, "the disk stayed full: {unwritten}");
    assert_eq!(used(&admin, &key).await, [admitted; 4], "after {unwritten} checks that could not be written down");
    api.free_disk();
    let holder = api.client().with_credential(&key.secret);
    eventually("the journal can be written again", HANGS_AFTER, async || {
        (holder.post(VALIDATE, &json!({})).await.status == 200).then_some(())
    })
    .await;
    admitted += 1;
    assert_eq!(used(&admin, &key).await, [admitted; 4], "with room again");
    billed_becomes(&admin, &key, admitted).await;
    assert_eq!(used(&admin, &key).await, [admitted; 4], "when all is billed");
    api.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_eats_neither_limits_nor_quota() {
    if !small_disks_are_possible() {
        return;
    }
    for stack in Stack::every().await {
        eprintln!("on {}", stack.name);
        a_full_disk_takes_nothing(&stack).await;
    }
}

/// Stands before the C library's own: while a file exists, no segment of the journal can be synced.
const FAILING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static int fails(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4 || access(getenv("FAIL_SYNC"), F_OK) != 0) return 0;
    return strncmp(path + length - 4, ".seg", 4) == 0;
}
int fsync(int fd) {
    if (fails(fd)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    if (fails(fd)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int msync(void *from, size_t length, int flags) {
    if (access(getenv("FAIL_SYNC"), F_OK) == 0) { errno = EIO; return -1; }
    return ((int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync"))(from, length, flags);
}
"#;

/// Compiles it; the C compiler is one that the build needs too.
fn failing_sync(folder: &Path) -> std::path::PathBuf {
    let (source, library) = (folder.join("failing_sync.c"), folder.join("failing_sync.so"));
    std::fs::write(&source, FAILING_SYNC).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler called cc");
    library
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_sync_eats_no_limit_where_every_answer_waits_for_it() {
    for stack in Stack::every().await {
        eprintln!("on {}", stack.name);
        let (journal, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let failing = folder.path().join("fails");
        let mut settings = settings(&stack, &journal);
        settings.push(("journal.sync", "group"));
        let mut api =
            Process::api(&settings).with_env("LD_PRELOAD", failing_sync(folder.path())).with_env("FAIL_SYNC", &failing);
        api.start_ready().await;
        let (admin, key) = (api.admin(), limited_key(&api.admin()).await);
        let (units, refused) = by_every_door(&api, &key).await;
        assert_eq!((units, refused), (6, 0));
        std::fs::write(&failing, "").unwrap();
        let (units, refused) = by_every_door(&api, &key).await;
        assert_eq!((units, refused), (0, 3), "the first could not be synced, and after it nothing is written");
        let [own, sliding, shared, quota] = used(&admin, &key).await;
        assert_eq!([own, sliding, shared], [6; 3]);
        // The record that could not be synced stands in the journal all the same: the quota's counter follows the bill.
        assert!([6, 8].contains(&quota), "{quota}");
    }
}

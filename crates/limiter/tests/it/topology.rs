//! Redis over TLS, behind sentinels that fail over, and as a cluster of three.
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tollgate_limiter::{Check, Decision, Limit, Limiter, Options, Part, Source, Timestamp};
use tollgate_test_servers::redis::Redis;
use tollgate_test_servers::wait::free_port;

use crate::harness::{fixed, seconds, sliding, subject};

/// A window that does not end during a test.
fn century(limit: u64) -> [Limit; 1] {
    [fixed("century", limit, seconds(3_000 * 86_400))]
}

fn options() -> Options {
    Options { call_budget: seconds(2), ..Options::default() }
}

async fn once(limiter: &Limiter) -> Decision {
    let limits = century(1_000_000);
    limiter.check(Check::new(subject("look"), &limits), Timestamp::default()).await.unwrap()
}

async fn until_exact(limiter: &Limiter, patience: Duration) {
    let started = Instant::now();
    loop {
        if once(limiter).await.source == Source::Exact {
            return;
        }
        assert!(started.elapsed() < patience, "{:?}", limiter.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    let done = command.status().expect("openssl is not installed: install the Debian package openssl");
    assert!(done.success(), "openssl {arguments}");
}

/// An authority and a certificate for 127.0.0.1 that it signed.
fn certificates(folder: &Path) {
    std::fs::write(folder.join("leaf.ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority");
    openssl(folder, "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=redis");
    openssl(
        folder,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.pem",
    );
}

#[tokio::test]
async fn redis_over_tls_decides() {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port();
    let _server = Redis::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("leaf.pem"),
        "--tls-key-file",
        &path("leaf.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let root = Some(std::fs::read(folder.path().join("ca.pem")).unwrap());
    let url = format!("rediss://127.0.0.1:{port}/");
    let trusting = Limiter::connect(&url, Options { root_certificate: root, ..options() }).await.unwrap();
    until_exact(&trusting, seconds(5)).await;
    let distrusting = Limiter::connect(&url, options()).await.unwrap();
    let decision = distrusting.check(Check::new(subject("a"), &century(5)), Timestamp::default()).await.unwrap();
    assert!(decision.degraded, "a certificate that nobody known signed is not accepted");
}

#[tokio::test]
async fn a_failover_by_sentinels_is_followed() {
    let mut master = Redis::start();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sentinel.conf");
    let watched = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        master.port()
    );
    std::fs::write(&file, watched).unwrap();
    let sentinel = Redis::start_with(&[&file.display().to_string(), "--sentinel"]);
    let url = format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port());
    let limiter = Limiter::connect(&url, options()).await.unwrap();
    until_exact(&limiter, seconds(5)).await;
    wait_for(&replica, "master_link_status:up").await;
    wait_for(&sentinel, "slaves=1").await;
    master.stop();
    let killed = Instant::now();
    let mut degraded = 0;
    loop {
        let decision = once(&limiter).await;
        degraded += u32::from(decision.degraded);
        if degraded > 0 && decision.source == Source::Exact {
            break;
        }
        assert!(killed.elapsed() < seconds(30), "{:?}", limiter.stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("tg:*:s:*").query_async(&mut replica.connection().await).await.unwrap();
    assert!(!keys.is_empty(), "the replica is the master now");
}

async fn wait_for(server: &Redis, line: &str) {
    let started = Instant::now();
    loop {
        let info: String = redis::cmd("INFO").query_async(&mut server.connection().await).await.unwrap();
        if info.contains(line) {
            return;
        }
        assert!(started.elapsed() < seconds(20), "no {line} in {info}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Three nodes that share the slots.
pub(crate) async fn cluster() -> Vec<Redis> {
    let mut nodes = Vec::new();
    for (first, last) in [(0, 5_460), (5_461, 10_922), (10_923, 16_383)] {
        let node = Redis::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("ADDSLOTSRANGE").arg(first).arg(last);
        slots.query_async::<()>(&mut node.connection().await).await.unwrap();
        nodes.push(node);
    }
    for node in &nodes[1..] {
        let mut meet = redis::cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(node.port());
        meet.query_async::<()>(&mut nodes[0].connection().await).await.unwrap();
    }
    for node in &nodes {
        let started = Instant::now();
        loop {
            let mut command = redis::cmd("CLUSTER");
            let info: String = command.arg("INFO").query_async(&mut node.connection().await).await.unwrap();
            if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                break;
            }
            assert!(started.elapsed() < seconds(20), "{info}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_decides_for_every_partition() {
    let nodes = cluster().await;
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let limiter = Limiter::connect(&format!("redis-cluster://{}", hosts.join(",")), options()).await.unwrap();
    until_exact(&limiter, seconds(10)).await;

    let limits = [sliding("hour", 5, seconds(3_600)), fixed("century", 5, seconds(3_000 * 86_400))];
    let checks = (0..300).flat_map(|name| [name; 8]).map(|name| {
        let (limiter, limits) = (limiter.clone(), limits.clone());
        tokio::spawn(async move {
            let check = Check::new(subject(&name.to_string()), &limits);
            let decision = limiter.check(check, Timestamp::default()).await.unwrap();
            assert!(!decision.degraded);
            u32::from(decision.allowed)
        })
    });
    let mut admitted = 0;
    for check in checks.collect::<Vec<_>>() {
        admitted += check.await.unwrap();
    }
    assert_eq!(admitted, 300 * 5);
    assert!(limiter.stats().calls < 300 * 8, "checks of one partition share calls");

    let owner = subject("owner");
    let others = [Part { subject: owner, limits: &limits, floors: &[] }];
    for name in 0..7 {
        let key = subject(&format!("key {name}")).in_partition_of(&owner);
        let decision =
            limiter.check(Check::new(key, &limits).with_others(&others), Timestamp::default()).await.unwrap();
        assert_eq!((decision.allowed, decision.degraded), (name < 5, false));
    }
    for node in &nodes {
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut node.connection().await).await.unwrap();
        assert!(keys > 50, "every node holds its part: {keys}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_without_repeating_it() {
    for url in ["http://host/", "host", "redis://", "redis-sentinel:///main", "redis://u:secret@host:port/"] {
        let error = Limiter::connect(url, options()).await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

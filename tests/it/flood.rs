//! Credentials that are made up, by the thousand: what they cost, and whom they take nothing from.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tollgate_domain::{Environment, KeySecret, TokenSecret};
use tollgate_tests::{
    BOOTSTRAP_TOKEN,
    answer::{Client, send},
    app::{App, Stack, on_every_stack},
    load::{Idle, Load, Seen, requests},
    process::Process,
    wait::{HANGS_AFTER, eventually},
};

use crate::processes::{key_on, settings};

const CONNECTIONS: usize = 5_000;
/// More than are remembered as unknown, so that each one asks again.
const SECRETS: usize = 100_000;
/// Of what is asked beside the flood.
const AT_ONCE: usize = 8;
const VALIDATE: &str = "/api/public/v1/rate-limit/validate";

/// Well-formed secrets that nobody has: of keys for checks, of tokens for management.
fn made_up() -> Vec<Vec<u8>> {
    let secret = |number: usize| match number % 2 {
        0 => KeySecret::generate(Environment::Live).unwrap().expose().to_owned(),
        _ => TokenSecret::generate().unwrap().expose().to_owned(),
    };
    let secrets: Vec<_> = (0..SECRETS).map(secret).collect();
    let manage = |secret: &str| {
        format!("GET /api/v1/plans HTTP/1.1\r\nhost: tollgate\r\nx-api-key: {secret}\r\n\r\n").into_bytes()
    };
    let of_token = |secret: &String| secret.starts_with("tgt_").then(|| manage(secret));
    let checks = requests(&secrets);
    secrets.iter().zip(checks).map(|(secret, check)| of_token(secret).unwrap_or(check)).collect()
}

/// Sends them from a thread of its own until it is told to stop. All must be answered 401.
fn flood(address: SocketAddr, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<std::io::Result<Seen>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let requests = Rc::new(made_up());
        let load = Load { address, requests, connections: CONNECTIONS, status: 401, idle: Idle::Sleeps };
        runtime.block_on(load.closed_while(move |_| !stop.load(Ordering::Relaxed)))
    })
}

/// How long it took to be answered 200.
async fn timed(request: reqwest::RequestBuilder) -> Duration {
    let started = Instant::now();
    send(request).await.expect(200);
    started.elapsed()
}

/// Secrets that the database was asked about, with this result.
async fn lookups(client: &Client, result: &str) -> u64 {
    let metrics = client.get("/metrics").await.expect(200).text;
    let name = format!("tollgate_secret_lookups_total{{result=\"{result}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_connections_of_made_up_secrets_have_no_good_one_refused() {
    for stack in Stack::every().await {
        eprintln!("on {}", stack.name);
        let journal = TempDir::new().unwrap();
        let mut settings = settings(&stack, &journal);
        // From one address, which is the hardest for the good ones: they come from it too.
        settings.push(("api.max_connections_per_ip", "10000"));
        let mut api = Process::api(&settings);
        api.start_ready().await;
        let (admin, client) = (api.admin(), api.client());
        let keys = join_all((0..44).map(|_| key_on(&admin, "free"))).await;
        let address = client.base().strip_prefix("http://").unwrap().parse().unwrap();
        let stop = Arc::default();
        let flood = flood(address, &stop);
        eventually("the flood is there", HANGS_AFTER, async || {
            (lookups(&client, "unknown").await > 10_000).then_some(())
        })
        .await;
        let manage = (0..50).map(|_| admin.request(Method::GET, "/api/v1/api-keys?limit=1"));
        let check = keys.iter().map(|key| client.with_credential(&key.secret).request(Method::POST, VALIDATE));
        let good: Vec<_> = manage.chain(check).collect();
        let took: Vec<_> = stream::iter(good.into_iter().map(timed)).buffer_unordered(AT_ONCE).collect().await;
        stop.store(true, Ordering::Relaxed);
        let seen = flood.join().unwrap().unwrap();
        eprintln!("{seen:?}; the slowest good one took {:?}", took.iter().max());
        assert_eq!((took.len(), seen.failed, lookups(&client, "failed").await), (94, 0, 0));
        assert!(api.stop().success());
    }
}

/// The same text with another last character: its checksum is wrong.
fn with_another_end(secret: &str) -> String {
    let (rest, last) = secret.split_at(secret.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// All secrets that the database was asked about.
async fn asked(app: &App) -> u64 {
    let mut asked = 0;
    for result in ["known", "unknown", "failed"] {
        asked += lookups(&app.anyone(), result).await;
    }
    asked
}

#[tokio::test]
async fn what_is_not_well_formed_reaches_no_store_and_a_token_is_read_once() {
    on_every_stack(async |app| {
        let (client, _) = app.token_with(json!({})).await;
        app.admin.get("/api/v1/whoami").await.expect(200);
        let before = asked(app).await;
        let (key, token) = (KeySecret::generate(Environment::Test).unwrap(), TokenSecret::generate().unwrap());
        let mut wrong: Vec<_> = [key.expose(), token.expose()].map(|secret| secret.replace("_", "__")).into();
        wrong.extend([key.expose(), token.expose()].map(with_another_end));
        // As an operator might choose one, and as the operator of these stories did but for a letter.
        wrong.push("tgt_admin_correct-horse-battery-staple".to_owned());
        wrong.push(format!("{}k", &BOOTSTRAP_TOKEN[..BOOTSTRAP_TOKEN.len() - 1]));
        for secret in &wrong {
            let stranger = app.admin.with_credential(secret);
            stranger.get("/api/v1/plans").await.expect_problem(401, "INVALID_API_KEY");
            stranger.post(VALIDATE, &json!({})).await.expect_problem(401, "INVALID_API_KEY");
        }
        assert_eq!(asked(app).await, before);
        for _ in 0..20 {
            client.get("/api/v1/plans").await.expect(200);
            app.admin.get("/api/v1/plans").await.expect(200);
        }
        assert_eq!(asked(app).await, before + 1);
        let unknown = app.admin.with_credential(TokenSecret::generate().unwrap().expose());
        for _ in 0..20 {
            unknown.get("/api/v1/plans").await.expect_problem(401, "INVALID_API_KEY");
        }
        assert_eq!(asked(app).await, before + 2);
    })
    .await;
}

//! What the processes write: each line an object, and each says what is wrong with what.

use std::net::TcpListener;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::{
    answer::{send, try_send},
    app::Stack,
    machine::set_open_files,
    process::Process,
    raw::Raw,
    wait::{HANGS_AFTER, eventually},
};

use crate::processes::{boundless_key, key_on, settings};

const OUT_OF_FILES: &str = "out of file descriptors";

/// Every line of it as an object.
fn lines(text: &str) -> Vec<Value> {
    let object = |line: &str| -> Value {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for member in ["timestamp", "level", "target"] {
            assert!(object[member].is_string(), "no {member}: {line}");
        }
        object
    };
    text.lines().map(object).collect()
}

fn messages(text: &str) -> Vec<String> {
    lines(text).iter().map(|line| line["message"].as_str().expect("a message").to_owned()).collect()
}

async fn says(process: &Process, words: &str) {
    eventually(&format!("the log says {words:?}"), HANGS_AFTER, async || (process.lines_with(words) > 0).then_some(()))
        .await;
}

#[tokio::test]
async fn every_line_is_an_object_from_the_first_to_the_last() {
    for stack in Stack::every().await {
        let journal = TempDir::new().unwrap();
        let mut settings = settings(&stack, &journal);
        settings.push(("log.level", "trace"));
        let mut api = Process::api(&settings).without_bootstrap_token();
        api.start_ready().await;
        let made = messages(&api.text());
        let token = made.iter().find_map(|line| line.strip_prefix("Admin token, shown this once: ")).expect("a token");
        let admin = api.client().with_credential(token);
        let key = key_on(&admin, "free").await;
        send(api.client().request(reqwest::Method::POST, "/nowhere")).await.expect(404);
        admin.post("/api/v1/plans", &json!({"name": "a \"quoted\"\nname"})).await.expect(422);
        let check = api
            .client()
            .with_credential(&key.secret)
            .request(reqwest::Method::POST, "/api/public/v1/rate-limit/validate");
        send(check).await.expect(200);
        let mut raw = Raw::connect(api.client().base()).await;
        raw.send("nonsense\r\n\r\n").await;
        raw.answer().await.expect("an answer").expect(400);
        assert!(api.stop().success());
        let all = messages(&api.text());
        for words in ["Tollgate serves http://", "Make a key:", "  curl -sS http://", "request", "stopping; not ready"]
        {
            assert!(all.iter().any(|line| line.starts_with(words)), "{words}: {all:?}");
        }
    }
}

#[tokio::test]
async fn a_worker_writes_objects_too() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let mut worker = Process::worker(&settings(&stack, &journal)).without_bootstrap_token();
    worker.start_ready().await;
    assert!(worker.stop().success());
    let all = messages(&worker.text());
    assert!(all.iter().any(|line| line.starts_with("Admin token, shown this once: tgt_admin_")), "{all:?}");
    assert!(all.contains(&"running jobs".to_owned()), "{all:?}");
}

#[tokio::test]
async fn why_a_process_cannot_start_is_one_object() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dir = TempDir::new().unwrap();
    let database = format!("sqlite://{}", dir.path().join("tollgate.db").display());
    let journal = dir.path().join("journal").display().to_string();
    let base = [
        ("log.format", "json"),
        ("database.url", database.as_str()),
        ("journal.dir", &journal),
        ("limiter.snapshot", ""),
    ];
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let inside = blocked.join("journal").display().to_string();
    let wrong = [
        ("api.max_connections", "0", "api.max_connections = 0 is not allowed: 1 to 1000000"),
        ("api.max_connections", "many", "a whole number"),
        ("api.listne", "x", "api.listne"),
        ("api.listen", taken.as_str(), "Address already in use"),
        ("api.listen", "name.invalid:80", "api.listen = name.invalid:80"),
        ("database.url", "mysql://x", "database.url"),
        ("database.url", "sqlite:///proc/nowhere/x.db", "database: "),
        ("queue.url", "carrier-pigeon:", "queue.url"),
        ("limiter.hash_key", "hunter2", "limiter.hash_key"),
        ("log.level", "sometimes", "log.level"),
        ("log.level", "info,tollgate_api=loud", "log.level"),
        ("journal.dir", inside.as_str(), "journal: "),
        ("limiter.url_file", "/nowhere", "/nowhere (limiter.url_file)"),
    ];
    for (key, value, words) in wrong {
        let settings = [&base[..], &[(key, value)]].concat();
        let ended = Process::api(&[]).listening_on("127.0.0.1:0", 0).with(&settings).run(&[]);
        why_it_ended(&ended, key, words);
    }
    for (variable, value, words) in [
        ("TOLLGATE_CONFIG", "/nowhere.toml", "/nowhere.toml (TOLLGATE_CONFIG)"),
        ("TOLLGATE_BOOTSTRAP_TOKEN", "short", "TOLLGATE_BOOTSTRAP_TOKEN must be"),
        ("TOLLGATE_BOOTSTRAP_TOKEN_FILE", "/nowhere", "TOLLGATE_BOOTSTRAP_TOKEN_FILE"),
    ] {
        let api = Process::api(&[]).listening_on("127.0.0.1:0", 0).with(&base).without_bootstrap_token();
        why_it_ended(&api.with_env(variable, value).run(&[]), variable, words);
    }
    let file = dir.path().join("tollgate.toml");
    std::fs::write(&file, "[log]\nformat = \"json\"\n[api]\nlistne = 1\n").unwrap();
    why_it_ended(&Process::api(&[]).with_env("TOLLGATE_CONFIG", &file).run(&[]), "a file", "api.listne");
    why_it_ended(&Process::worker(&base).run(&[]), "a worker", "tollgate-worker needs the redis://… queue");
}

fn why_it_ended(ended: &std::process::Output, what: &str, words: &str) {
    let errors = String::from_utf8(ended.stderr.clone()).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{what}: {errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
    lines(&String::from_utf8(ended.stdout.clone()).unwrap());
    let why: Vec<_> = lines(&errors).into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(why.len(), 1, "{what}: {errors}");
    assert!(why[0]["message"].as_str().unwrap().contains(words), "{what}: {errors}");
}

#[tokio::test]
async fn the_limiters_log_says_what_redis_said() {
    let (stack, journal) = (Stack::production().await, TempDir::new().unwrap());
    let redis = stack.redis.as_ref().unwrap();
    assert_eq!(redis.command("ACL SETUSER limited on >hunter2 ~* &* +@all -@scripting"), "+OK");
    let url = redis.url_of(0).replace("redis://", "redis://limited:hunter2@");
    let mut settings = settings(&stack, &journal);
    settings.push(("limiter.url", &url));
    let mut api = Process::api(&settings);
    api.start_ready().await;
    let key = key_on(&api.admin(), "free").await;
    let check = || {
        api.client().with_credential(&key.secret).request(reqwest::Method::POST, "/api/public/v1/rate-limit/validate")
    };
    assert_eq!(send(check()).await.expect(200).body["degraded"], true);
    says(&api, "NOPERM").await;
    let text = api.text();
    let line = lines(&text).into_iter().find(|line| line["fault"] == "NotPermitted").expect("the fault");
    let said = line["said"].as_str().unwrap();
    assert!(said.starts_with("NOPERM this user has no permissions"), "{said}");
    send(check()).await.expect(200);
    assert_eq!(api.lines_with("limiter store: takes"), 1, "it does not come and go: {}", api.text());
    assert!(!text.contains("hunter2"), "{text}");
    assert!(api.stop().success());
}

/// With no file descriptor left each place that needs one says so: the accept loop, the journal, SQLite, PostgreSQL, Redis.
#[tokio::test]
async fn a_lack_of_file_descriptors_is_said_as_that_and_passes() {
    for stack in Stack::every().await {
        let journal = TempDir::new().unwrap();
        let mut api = Process::api(&settings(&stack, &journal));
        api.start_ready().await;
        let (admin, base) = (api.admin(), api.client().base().to_owned());
        let key = boundless_key(&admin).await;
        let batch = json!({"checks": vec![json!({"api_key_id": key.id, "endpoint": "x".repeat(100)}); 300]});
        let used = async || {
            try_send(admin.request(reqwest::Method::POST, "/api/v1/rate-limit/check-batch").json(&batch)).await
        };
        let at_once = async |path: &str| {
            let many = (0..30).map(|_| try_send(admin.request(reqwest::Method::GET, path)));
            futures_util::future::join_all(many).await
        };
        // The client keeps its connections: what follows needs no new one.
        at_once("/live").await;
        used().await.unwrap().expect(200);
        // Those that are open stay so, and no number below is free.
        set_open_files(api.pid(), 5);

        eventually("the journal has no next segment", HANGS_AFTER, async || {
            used().await.is_ok_and(|answer| answer.text.contains("UNAVAILABLE")).then_some(())
        })
        .await;
        says(&api, "out of file descriptors: the journal takes no records").await;
        if let Some(redis) = &stack.redis {
            redis.command("CLIENT KILL TYPE normal");
            says(&api, "limiter store: out of file descriptors").await;
            says(&api, "out of file descriptors: the queue's Redis").await;
        }
        stack.cut_database_connections().await;
        eventually("the database cannot be reached", HANGS_AFTER, async || {
            at_once("/api/v1/plans").await;
            (api.lines_with("out of file descriptors: the database") > 0).then_some(())
        })
        .await;
        let mut waiting = Raw::connect(&base).await;
        says(&api, "out of file descriptors: idle connections make way").await;
        let refused_record = "the journal refused a record";
        assert_eq!(api.lines_with(refused_record), 0, "on {}: {}", stack.name, api.text());

        set_open_files(api.pid(), 4_096);
        waiting.send("GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await;
        waiting.answer().await.expect("it was accepted in the end").expect(200);
        eventually("all is well again", HANGS_AFTER, async || {
            let answer = used().await.ok()?;
            (answer.status == 200 && !answer.text.contains("UNAVAILABLE") && !answer.text.contains("degraded"))
                .then_some(())
        })
        .await;
        let said = lines(&api.text())
            .iter()
            .filter(|l| l["message"].as_str().is_some_and(|m| m.contains(OUT_OF_FILES)))
            .count();
        assert!(said > 0);
        assert!(api.stop().success());
    }
}

#[tokio::test]
async fn a_process_with_few_file_descriptors_serves_new_clients_whatever_others_hold() {
    let (stack, journal) = (Stack::embedded(), TempDir::new().unwrap());
    let mut api = Process::api(&settings(&stack, &journal)).with_open_files(256);
    api.start_ready().await;
    says(&api, "file descriptors leaves room for fewer connections").await;
    let base = api.client().base().to_owned();
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(Raw::connect_from("127.0.0.2", &base).await.expect("a connection"));
    }
    for _ in 0..50 {
        let mut raw = Raw::connect(&base).await;
        raw.send("GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await;
        raw.answer().await.expect("an answer").expect(200);
    }
    assert_eq!(api.lines_with(OUT_OF_FILES), 0, "{}", api.text());
    drop(held);
    assert!(api.stop().success());
}

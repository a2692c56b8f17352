//! The first start: any number of nodes at once migrate and make one token.

use tempfile::TempDir;
use tollgate_domain::{AdminToken, Clock, Page, Plan, PlanId};
use tollgate_repository::{Error, Options, Repository};
use tollgate_test_servers::database::Database;

use crate::harness::{Stack, TENANT, at, file_of, options};

#[tokio::test]
async fn a_second_bootstrap_changes_nothing() {
    for stack in Stack::every().await {
        let now = stack.clock.now();
        let plans = Plan::defaults(TENANT, now, || PlanId(stack.clock.new_id()));
        let kept = stack.plan("free").await;
        let (token, hash) = stack.token(TENANT);
        assert!(stack.repository.bootstrap(TENANT, &plans, &token, &hash).await.unwrap());
        let (second, second_hash) = stack.token(TENANT);
        assert!(!stack.repository.bootstrap(TENANT, &plans, &second, &second_hash).await.unwrap());
        assert_eq!(stack.repository.tokens().by_secret(&hash, now).await.unwrap().unwrap().token, token);
        assert_eq!(stack.repository.tokens().by_secret(&second_hash, now).await.unwrap(), None);
        let names: Vec<_> = stack.repository.plans().list(TENANT, Page { page: 1, limit: 10 }).await.unwrap().items;
        assert_eq!(
            names.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
            ["enterprise", "free", "pro", "standard"]
        );
        assert!(names.contains(&kept), "a plan that was there stays");
    }
}

async fn eight_nodes_start_on(url: &str, clock: &Clock) {
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let (url, clock) = (url.to_owned(), clock.clone());
            tokio::spawn(async move {
                let node = Repository::connect(&url, options()).await.unwrap();
                node.migrate().await.unwrap();
                let plans = Plan::defaults(TENANT, clock.now(), || PlanId(clock.new_id()));
                let secret = tollgate_domain::TokenSecret::generate().unwrap();
                let id = tollgate_domain::TokenId(clock.new_id());
                let token = AdminToken::unlimited(id, TENANT, "first", secret.prefix(), clock.now());
                node.bootstrap(TENANT, &plans, &token, &secret.hash()).await.unwrap()
            })
        })
        .collect();
    let mut made = 0;
    for start in starts {
        made += u32::from(start.await.unwrap());
    }
    assert_eq!(made, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_nodes_that_start_at_once_make_one_schema_and_one_token() {
    let clock = Clock::manual(at("2026-05-15T00:00:00Z"));
    let files = TempDir::new().unwrap();
    let sqlite = format!("sqlite://{}/new/folder/tollgate.db", files.path().display());
    eight_nodes_start_on(&sqlite, &clock).await;
    assert!(file_of(&sqlite).exists());
    let database = Database::create();
    eight_nodes_start_on(&database.url(), &clock).await;
}

#[tokio::test]
async fn what_is_stored_survives_a_restart() {
    for stack in Stack::every().await {
        let (key, hash) = stack.key(TENANT, "kept").await;
        stack.repository.close().await;
        let restarted = stack.another().await;
        restarted.migrate().await.unwrap();
        assert_eq!(restarted.keys().by_secret(&hash, stack.clock.now()).await.unwrap().unwrap().key, key);
        assert_eq!(restarted.engine(), stack.repository.engine());
        assert_eq!(restarted.pool().max, options().max_connections);
        assert!(restarted.pool().size >= 1);
    }
}

#[tokio::test]
async fn a_url_we_cannot_use_is_named_without_its_password() {
    for url in ["mysql://root:hunter2@host/db", "tollgate.db", "sqlite://", "sqlite::memory:", "sqlite://:memory:"] {
        let error = Repository::connect(url, options()).await.err().unwrap();
        assert!(matches!(error, Error::Url(_)), "{url}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let replica = Options { replica_url: Some("postgres://localhost/x".to_owned()), ..options() };
    assert!(matches!(Repository::connect("sqlite://unused.db", replica).await, Err(Error::Url(_))));
}

//! What the caller is told when the database is down, hung, read-only, full, contended or holds nonsense.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection, SqliteConnection};
use tollgate_domain::{KeyFilter, Page};
use tollgate_repository::{Error, Options, Repository};
use tollgate_test_servers::{database::Database, postgres::Postgres, wait::ends_within_promise};

use crate::harness::{Stack, TENANT, at, options};

const PAGE: Page = Page { page: 1, limit: 10 };

#[tokio::test]
async fn a_postgres_that_is_down_is_no_error_at_start_and_unavailable_at_use() {
    let down = Repository::connect("postgres://nobody@127.0.0.1:1/none", Options::default()).await.unwrap();
    let asked = Instant::now();
    assert!(matches!(down.ping().await, Err(Error::Unavailable(_))));
    assert!(matches!(down.migrate().await, Err(Error::Unavailable(_))));
    assert!(matches!(down.schedules().claim_tick("t", at("2026-05-15T00:00:00Z")).await, Err(Error::Unavailable(_))));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_hung_postgres_is_unavailable_within_a_second_and_comes_back() {
    let server = Postgres::start();
    let database = server.database();
    let node = Repository::connect(&database.url(), Options::default()).await.unwrap();
    node.migrate().await.unwrap();
    server.signal_all("STOP");
    let outcome = ends_within_promise("an answer", Duration::from_secs(1), node.revision()).await;
    server.signal_all("CONT");
    assert!(matches!(outcome, Err(Error::Unavailable(_))));
    let deadline = Instant::now() + Duration::from_secs(5);
    while node.revision().await.is_err() {
        assert!(Instant::now() < deadline, "it did not come back");
    }
}

#[tokio::test]
async fn a_terminated_connection_is_not_noticed_by_a_read() {
    let stack = Stack::postgres().await;
    let (key, _) = stack.key(TENANT, "read").await;
    for _ in 0..5 {
        let text = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name = 'tollgate'";
        stack.sql(text).await;
        assert!(stack.repository.keys().get(TENANT, key.id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_read_whose_connection_dies_under_it_is_made_again() {
    let stack = Stack::postgres().await;
    let (key, _) = stack.key(TENANT, "read").await;
    let mut holder = PgConnection::connect(&stack.url).await.unwrap();
    sqlx::raw_sql("begin; lock table api_keys in access exclusive mode").execute(&mut holder).await.unwrap();
    let node = stack.repository.clone();
    let read = tokio::spawn(async move { node.keys().get(TENANT, key.id).await });
    // The read waits for the lock; its connection is ended as soon as it does.
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and application_name = 'tollgate' and wait_event_type = 'Lock'";
    let mut killer = PgConnection::connect(&stack.url).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    while sqlx::query_scalar::<_, i64>(end).fetch_one(&mut killer).await.unwrap() == 0 {
        assert!(Instant::now() < deadline, "the read never waited");
    }
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    assert!(read.await.unwrap().unwrap().is_some());
}

#[tokio::test]
async fn a_read_only_postgres_says_so_and_still_reads() {
    let stack = Stack::postgres().await;
    stack.plan("pro").await;
    stack
        .sql("do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$")
        .await;
    let node = stack.another().await;
    assert!(matches!(node.plans().insert(TENANT, &stack.plan_of(TENANT, "new")).await, Err(Error::ReadOnly)));
    assert!(node.plans().by_name(TENANT, "pro").await.unwrap().is_some());
}

#[tokio::test]
async fn what_postgres_says_is_sorted_and_contention_is_tried_again() {
    let stack = Stack::postgres().await;
    // Fails as many inserts as `failures` says, with the SQLSTATE it says; a sequence is not rolled back.
    stack
        .sql(
            "create table failures (code text not null, times bigint not null);
             create sequence attempts;
             create function fail() returns trigger language plpgsql as $$
             declare f failures;
             begin
                 select * into f from failures;
                 if nextval('attempts') <= f.times then raise exception 'injected' using errcode = f.code; end if;
                 return new;
             end $$;
             create trigger fail before insert on schedules for each row execute function fail();",
        )
        .await;
    let attempt = async |name: &str| stack.repository.schedules().claim_tick(name, stack.clock.now()).await;
    let inject = async |text| {
        stack.sql("truncate failures; alter sequence attempts restart").await;
        stack.sql(text).await;
    };
    inject("insert into failures values ('40P01', 3)").await;
    assert!(attempt("deadlock").await.unwrap(), "the fourth attempt succeeds");
    inject("insert into failures values ('40001', 4)").await;
    assert!(matches!(attempt("serialization").await, Err(Error::Unavailable(_))), "there is no fifth");
    assert_eq!(stack.number("select last_value from attempts").await, 4);
    inject("insert into failures values ('53100', 1)").await;
    assert!(matches!(attempt("full").await, Err(Error::Full)));
    inject("insert into failures values ('57014', 1)").await;
    assert!(matches!(attempt("cancelled").await, Err(Error::Unavailable(_))));
    inject("insert into failures values ('53300', 1)").await;
    assert!(matches!(attempt("too many connections").await, Err(Error::Unavailable(_))));
    inject("insert into failures values ('42501', 1)").await;
    assert!(matches!(attempt("forbidden").await, Err(Error::Database(_))));
    assert_eq!(stack.number("select last_value from attempts").await, 1, "nothing else is tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_wait_for_sqlites_lock_leave_connections_for_readers() {
    let stack = Stack::sqlite().await;
    let node = Repository::connect(&stack.url, Options::default()).await.unwrap();
    let mut other_process = SqliteConnection::connect(&stack.url).await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut other_process).await.unwrap();
    let now = stack.clock.now();
    let writers: Vec<_> = (0..2 * options().max_connections)
        .map(|n| {
            let node = node.clone();
            tokio::spawn(async move { node.schedules().claim_tick(&n.to_string(), now).await })
        })
        .collect();
    // Longer than a reader would wait for a connection.
    let held = Instant::now() + Options::default().acquire_timeout * 2;
    while Instant::now() < held {
        node.revision().await.unwrap();
    }
    sqlx::raw_sql("commit").execute(&mut other_process).await.unwrap();
    for writer in writers {
        assert!(writer.await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_stored_value_we_cannot_read_is_named_by_table_and_column() {
    for stack in Stack::every().await {
        let (key, hash) = stack.key(TENANT, "corrupt").await;
        stack.sql("update api_keys set allowed_ips = '{\"items\": [\"nonsense\"]}'").await;
        let named = |error: Error, column: &str| match error {
            Error::Corrupt(text) => assert!(text.contains(column), "{text}"),
            other => panic!("{other:?}"),
        };
        named(stack.repository.keys().get(TENANT, key.id).await.unwrap_err(), "api_keys.allowed_ips");
        named(stack.repository.keys().by_secret(&hash, stack.clock.now()).await.unwrap_err(), "api_keys.allowed_ips");
        stack.sql("update plans set prices = '{\"currency\": \"dollars\"}'").await;
        named(stack.repository.plans().list(TENANT, PAGE).await.unwrap_err(), "plans.prices");
        stack.sql("update plans set prices = null, currency = 'dollars'").await;
        named(stack.repository.plans().list(TENANT, PAGE).await.unwrap_err(), "plans.currency");
    }
}

#[tokio::test]
async fn a_list_may_come_from_the_replica_and_what_is_counted_may_not() {
    let stack = Stack::postgres().await;
    let (key, hash) = stack.key(TENANT, "on the primary").await;
    // A second database stands in for a replica that has not heard of the key.
    let behind = Database::create();
    Repository::connect(&behind.url(), options()).await.unwrap().migrate().await.unwrap();
    let with_replica = |url: String| Options { replica_url: Some(url), ..options() };
    let node = Repository::connect(&stack.url, with_replica(behind.url())).await.unwrap();
    let now = stack.clock.now();
    assert_eq!(node.keys().list(TENANT, &KeyFilter::default(), PAGE, now).await.unwrap().total, 0);
    assert!(node.keys().by_secret(&hash, now).await.unwrap().is_some());
    assert!(node.keys().get(TENANT, key.id).await.unwrap().is_some());
    assert!(!node.changes_since(0).await.unwrap().api_keys.is_empty());

    let away = with_replica("postgres://nobody@127.0.0.1:1/none".to_owned());
    let node = Repository::connect(&stack.url, away).await.unwrap();
    assert_eq!(
        node.keys().list(TENANT, &KeyFilter::default(), PAGE, now).await.unwrap().total,
        1,
        "the primary stands in"
    );
    node.close().await;
    assert!(matches!(node.ping().await, Err(Error::Unavailable(_))));
}

//! A database of an earlier version, with data, becomes what a fresh one is, and keeps what it holds.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tollgate_domain::{KeyFilter, KeyStatus, Page, TenantId, UsageEvent};
use tollgate_repository::Repository;
use tollgate_test_servers::database::Database;

use crate::harness::{Stack, TENANT, at, options};

const SQLITE: &str = include_str!("../dumps/0005.sqlite.sql");
const POSTGRES: &str = include_str!("../dumps/0005.postgres.sql");

/// By table and, within it, a line per row: the columns that are named.
type Rows = BTreeMap<String, Vec<String>>;
/// By table.
type Columns = BTreeMap<String, Vec<String>>;

/// What is read and written behind the repository's back.
enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    async fn connect(url: &str) -> Self {
        if url.starts_with("sqlite") {
            Self::Sqlite(SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap())
        } else {
            Self::Postgres(PgConnection::connect(url).await.unwrap())
        }
    }

    async fn run(&mut self, text: &str) {
        let text = AssertSqlSafe(text.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(text).execute(connection).await.map(drop),
            Self::Postgres(connection) => sqlx::raw_sql(text).execute(connection).await.map(drop),
        }
        .unwrap();
    }

    async fn lines(&mut self, text: String) -> Vec<String> {
        let text = AssertSqlSafe(text);
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(text).fetch_all(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(text).fetch_all(connection).await,
        }
        .unwrap()
    }

    /// Tables, columns, keys, checks and indexes, a line each.
    async fn schema(&mut self) -> Vec<String> {
        let text = match self {
            Self::Sqlite(_) => "select coalesce(sql, name) from sqlite_master where name not like '%sqlx%' order by name",
            Self::Postgres(_) => {
                "select line from (
                     select format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, collation_name) as line
                     from information_schema.columns where table_schema = 'public'
                     union all select format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
                     from pg_constraint where connamespace = 'public'::regnamespace
                     union all select indexdef from pg_indexes where schemaname = 'public'
                     union all select format('%s %s', oid::regclass, reloptions)
                     from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
                 ) as lines where line not like '%sqlx%' order by line"
            }
        };
        self.lines(text.to_owned()).await
    }

    async fn columns(&mut self) -> Columns {
        let text = match self {
            Self::Sqlite(_) => {
                "select m.name || ' ' || c.name from sqlite_master m, pragma_table_info(m.name) c
                 where m.type = 'table' and m.name not like '%sqlx%' order by m.name, c.name"
            }
            Self::Postgres(_) => {
                "select table_name || ' ' || column_name from information_schema.columns
                 where table_schema = 'public' and table_name not like '%sqlx%' order by table_name, column_name"
            }
        };
        let mut columns = Columns::new();
        for line in self.lines(text.to_owned()).await {
            let (table, column) = line.split_once(' ').unwrap();
            columns.entry(table.to_owned()).or_default().push(column.to_owned());
        }
        columns
    }

    async fn rows(&mut self, columns: &Columns) -> Rows {
        let mut rows = Rows::new();
        for (table, columns) in columns {
            let values = columns.iter().map(|column| match self {
                Self::Sqlite(_) => format!("quote({column})"),
                Self::Postgres(_) => format!("coalesce({column}::text, 'null')"),
            });
            let line = values.collect::<Vec<_>>().join(" || ' ' || ");
            rows.insert(table.clone(), self.lines(format!("select {line} as line from {table} order by line")).await);
        }
        rows
    }
}

async fn upgrade(url: &str, dump: &str) {
    let mut raw = Raw::connect(url).await;
    raw.run(dump).await;
    if matches!(raw, Raw::Postgres(_)) {
        // The dump has cleared it.
        raw.run("select set_config('search_path', 'public', false)").await;
    }
    let before = raw.columns().await;
    let rows = raw.rows(&before).await;
    let repository = Repository::connect(url, options()).await.unwrap();
    repository.migrate().await.unwrap();

    let after = raw.columns().await;
    let kept = before.into_iter().filter_map(|(table, mut columns)| {
        let now = after.get(&table)?;
        columns.retain(|column| now.contains(column));
        Some((table, columns))
    });
    let kept: Columns = kept.collect();
    assert_eq!(raw.rows(&kept).await, rows);
    holds_what_it_held(&repository).await;
    // As a start does that finds nothing to do.
    repository.migrate().await.unwrap();
}

async fn holds_what_it_held(repository: &Repository) {
    let now = at("2026-11-25T12:00:00Z");
    let page = Page { page: 1, limit: 10 };
    let keys = repository.keys().list(TENANT, &KeyFilter::default(), page, now).await.unwrap();
    let names: Vec<_> = keys.items.iter().map(|key| (key.name.as_str(), key.status)).collect();
    assert_eq!(names, [("second", KeyStatus::Suspended), ("Checkout service", KeyStatus::Active)]);
    let first = keys.items.last().unwrap();
    assert_eq!((first.tags.as_slice(), first.limits.len()), (&["production".to_owned(), "eu".to_owned()][..], 1));
    // Three admitted checks and an event of seven units; two refused ones.
    assert_eq!(repository.usage().stats(TENANT, first.id, now).await.unwrap().total_requests, 12);
    assert_eq!(repository.violations().count(TENANT, first.id, at("2026-11-01T00:00:00Z")).await.unwrap(), 2);
    assert_eq!(repository.tokens().list(TenantId::DEFAULT, page).await.unwrap().total, 2);
    // The event is still known by its id, whatever comes under it; under another source the id is another's.
    let event = UsageEvent { at: now, ..crate::events::event(first, "evt-1", 9) };
    let other = UsageEvent { source: "/another".to_owned(), ..event.clone() };
    let outcomes = repository.usage().insert_events(TENANT, &[event, other], now).await.unwrap();
    assert_eq!(outcomes, [crate::events::DUPLICATE, crate::events::ACCEPTED]);
    assert_eq!(repository.usage().stats(TENANT, first.id, now).await.unwrap().total_requests, 12 + 9);
}

#[tokio::test]
async fn an_upgraded_database_ends_equal_to_a_fresh_one_and_keeps_every_row() {
    let files = TempDir::new().unwrap();
    let old = format!("sqlite://{}", files.path().join("old.db").display());
    upgrade(&old, SQLITE).await;
    let fresh = Stack::sqlite().await;
    assert_eq!(Raw::connect(&old).await.schema().await, Raw::connect(&fresh.url).await.schema().await);

    let fresh = Stack::postgres().await;
    let old = Database::create();
    upgrade(&old.url(), POSTGRES).await;
    assert_eq!(Raw::connect(&old.url()).await.schema().await, Raw::connect(&fresh.url).await.schema().await);
}

#[tokio::test]
async fn no_check_lists_the_values_of_a_column() {
    for stack in [Stack::sqlite().await, Stack::postgres().await] {
        for line in Raw::connect(&stack.url).await.schema().await {
            let lists = line.to_lowercase();
            assert!(!lists.contains(" in (") && !lists.contains("any (array"), "{line}");
        }
    }
}

#[tokio::test]
async fn usage_never_goes_with_a_key() {
    for stack in [Stack::sqlite().await, Stack::postgres().await] {
        for line in Raw::connect(&stack.url).await.schema().await {
            let of_usage = line.contains("usage_") || line.contains("violations");
            assert!(!(of_usage && line.to_lowercase().contains("references")), "{line}");
        }
    }
}

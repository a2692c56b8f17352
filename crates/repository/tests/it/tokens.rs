//! Admin tokens: found by a secret, changed under the eyes of one writer at a time, hidden when deleted, kept by an upgrade.

use std::collections::HashSet;

use chrono::TimeDelta;
use sqlx::{
    Connection, PgConnection, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
};
use tempfile::TempDir;
use tollgate_domain::{AdminToken, Page, Scope, ScopeSet, SecretHash, TenantId, TokenSecret};
use tollgate_repository::{Changes, Error, MAX_PROBED, Repository, TokenWrite};
use tollgate_test_servers::database::Database;

use crate::harness::{Stack, TENANT, at, options};

const PAGE: Page = Page { page: 1, limit: 100 };

async fn stored(stack: &Stack) -> (AdminToken, SecretHash) {
    let (token, hash) = stack.token(TENANT);
    stack.repository.tokens().insert(TENANT, &token, &hash).await.unwrap();
    (token, hash)
}

async fn found(stack: &Stack, hash: &SecretHash) -> Option<AdminToken> {
    stack.repository.tokens().by_secret(hash, stack.clock.now()).await.unwrap().map(|found| found.token)
}

/// One write that is refused by nothing.
async fn write(stack: &Stack, write: TokenWrite) -> AdminToken {
    let written = stack.repository.tokens().change(TENANT, stack.clock.now(), |_| Ok::<_, Error>(write.clone()));
    written.await.unwrap()
}

#[tokio::test]
async fn a_token_is_found_by_its_hash_and_stored_once() {
    for stack in Stack::every().await {
        let (mut token, hash) = stack.token(TENANT);
        token.scopes = ScopeSet(vec![Scope::KeysRead, Scope::UsageRead]);
        token.allowed_ips = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        token.expires_at = Some(stack.clock.now() + TimeDelta::hours(1));
        stack.repository.tokens().insert(TENANT, &token, &hash).await.unwrap();
        assert_eq!(found(&stack, &hash).await.as_ref(), Some(&token));
        assert_eq!(stack.repository.tokens().get(TENANT, token.id).await.unwrap().as_ref(), Some(&token));
        assert!(matches!(stack.repository.tokens().insert(TENANT, &token, &hash).await, Err(Error::Conflict)));
        let (stray, stray_hash) = stack.token(TenantId(stack.clock.new_id()));
        let unknown_tenant = stack.repository.tokens().insert(stray.tenant_id, &stray, &stray_hash).await;
        assert!(matches!(unknown_tenant, Err(Error::Conflict)));
    }
}

#[tokio::test]
async fn a_rotated_secret_leads_to_its_token_until_its_grace_ends() {
    for stack in Stack::every().await {
        let (token, first) = stored(&stack).await;
        let seen = stack.repository.revision().await.unwrap();
        let in_hours = |hours| stack.clock.now() + TimeDelta::hours(hours);
        let rotate = async |ends| {
            let secret = TokenSecret::generate().unwrap();
            let renewed = AdminToken { prefix: secret.prefix(), ..token.clone() };
            (write(&stack, TokenWrite::Rotate(renewed, secret.hash(), ends)).await, secret.hash())
        };
        let end = in_hours(2);
        let (rotated, second) = rotate(end).await;
        assert_eq!((rotated.version, rotated.id), (2, token.id));
        let changes = stack.repository.changes_since(seen).await.unwrap();
        assert_eq!(changes, Changes { revision: seen + 1, admin_tokens: vec![token.id], ..Changes::default() });
        let old = stack.repository.tokens().by_secret(&first, stack.clock.now()).await.unwrap().unwrap();
        assert_eq!((&old.token, old.secret_expires_at), (&rotated, Some(end)));
        let new = stack.repository.tokens().by_secret(&second, stack.clock.now()).await.unwrap().unwrap();
        assert_eq!((&new.token, new.secret_expires_at), (&rotated, None));

        // A second rotation leaves no former secret more than its own grace.
        let (_, third) = rotate(in_hours(1)).await;
        stack.clock.advance(TimeDelta::minutes(59));
        for hash in [&first, &second, &third] {
            assert!(found(&stack, hash).await.is_some());
        }
        stack.clock.advance(TimeDelta::minutes(1));
        assert_eq!((found(&stack, &first).await, found(&stack, &second).await), (None, None));
        assert!(found(&stack, &third).await.is_some());
        let _ = rotate(stack.clock.now()).await;
        assert_eq!(found(&stack, &third).await, None);
        assert_eq!(stack.number("select count(*) from former_token_secrets").await, 0);
    }
}

#[tokio::test]
async fn a_deleted_token_is_hidden_with_all_its_secrets_and_stays_in_the_table() {
    for stack in Stack::every().await {
        let (token, first) = stored(&stack).await;
        let (second_secret, tomorrow) = (TokenSecret::generate().unwrap(), stack.clock.now() + TimeDelta::days(1));
        let rotated = write(&stack, TokenWrite::Rotate(token.clone(), second_secret.hash(), tomorrow)).await;
        let seen = stack.repository.revision().await.unwrap();
        assert_eq!(write(&stack, TokenWrite::Delete(rotated.clone())).await, rotated);
        for hash in [first, second_secret.hash()] {
            assert_eq!(found(&stack, &hash).await, None);
        }
        assert_eq!(stack.repository.tokens().get(TENANT, token.id).await.unwrap(), None);
        assert_eq!(stack.repository.tokens().list(TENANT, PAGE).await.unwrap().total, 0);
        assert_eq!(stack.repository.changes_since(seen).await.unwrap().admin_tokens, [token.id]);
        assert_eq!(stack.number("select count(*) from admin_tokens where deleted_at is not null").await, 1);
    }
}

#[tokio::test]
async fn a_refusal_writes_nothing_and_takes_no_revision() {
    for stack in Stack::every().await {
        let (token, hash) = stored(&stack).await;
        let seen = stack.repository.revision().await.unwrap();
        let refused = stack.repository.tokens().change(TENANT, stack.clock.now(), |tokens| {
            assert_eq!(tokens, std::slice::from_ref(&token));
            Err(Error::Full)
        });
        assert!(matches!(refused.await, Err(Error::Full)));
        assert_eq!(stack.repository.revision().await.unwrap(), seen);
        assert_eq!(found(&stack, &hash).await, Some(token));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_deletions_at_once_the_one_that_would_take_the_last_token_is_refused() {
    for stack in Stack::every().await {
        let mut deletions = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (token, _) = stored(&stack).await;
            let (repository, now) = (stack.repository.clone(), stack.clock.now());
            deletions.spawn(async move {
                let delete = |tokens: &[AdminToken]| match tokens.len() {
                    1 => Err(Error::Full),
                    _ => Ok(TokenWrite::Delete(token.clone())),
                };
                repository.tokens().change(TENANT, now, delete).await.is_ok()
            });
        }
        let deleted = deletions.join_all().await.into_iter().filter(|deleted| *deleted).count();
        assert_eq!((deleted, stack.repository.tokens().list(TENANT, PAGE).await.unwrap().total), (7, 1));
    }
}

#[tokio::test]
async fn a_use_is_noted_never_back_in_time_and_is_no_change() {
    for stack in Stack::every().await {
        let (token, hash) = stored(&stack).await;
        let (seen, now) = (stack.repository.revision().await.unwrap(), stack.clock.now());
        stack.repository.tokens().touch(TENANT, token.id, now).await.unwrap();
        stack.repository.tokens().touch(TENANT, token.id, now - TimeDelta::seconds(1)).await.unwrap();
        stack.repository.tokens().touch(stack.tenant().await, token.id, now + TimeDelta::seconds(1)).await.unwrap();
        let used = AdminToken { last_used_at: Some(now), ..token };
        assert_eq!(found(&stack, &hash).await, Some(used));
        assert_eq!(stack.repository.revision().await.unwrap(), seen);
    }
}

#[tokio::test]
async fn of_many_secrets_those_that_exist_are_told() {
    for stack in Stack::every().await {
        let (_, of_token) = stored(&stack).await;
        let (_, of_key) = stack.key(TENANT, "k").await;
        let (rotated, former) = stored(&stack).await;
        let current = TokenSecret::generate().unwrap();
        let ends = stack.clock.now() + TimeDelta::hours(1);
        write(&stack, TokenWrite::Rotate(rotated, current.hash(), ends)).await;
        let there = [of_token, of_key, former, current.hash()];
        for strangers in [0, 1, MAX_PROBED - there.len()] {
            let mut asked: Vec<_> = (0..strangers).map(|_| TokenSecret::generate().unwrap().hash()).collect();
            asked.extend(there);
            let told = stack.repository.keys().existing_secrets(&asked).await.unwrap();
            assert!(told == HashSet::from(there), "{strangers} strangers");
        }
        assert!(stack.repository.keys().existing_secrets(&[]).await.unwrap().is_empty());
    }
}

/// The schema and the statements of the version before tokens could be made.
const BEFORE: &str = include_str!("../../../../migrations/0001_initial.sql");
const INSERT_BEFORE: &str = "
    insert into tenants (id, created_at) values ($1, $2);";
const TOKEN_BEFORE: &str = "
    insert into admin_tokens (tenant_id, id, hash, name, prefix, scopes, created_at, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";
const FIND_BEFORE: &str = "
    select tenant_id, id, hash, name, prefix, scopes, created_at, expires_at
    from admin_tokens where hash = $1";

/// A database of that version with one token, then brought up to date. Asked as that version asks, the token is there.
macro_rules! upgrade {
    ($connection:ty, $url:expr, $token:expr, $hash:expr) => {{
        let mut connection = <$connection>::connect($url).await.unwrap();
        let text = sqlx::SqlSafeStr::into_sql_str(BEFORE);
        let initial = Migration::new(1, "initial".into(), MigrationType::Simple, text, false);
        Migrator::with_migrations(vec![initial]).run_direct(None, &mut connection, false).await.unwrap();
        let token: &AdminToken = $token;
        let scopes = serde_json::json!({"items": token.scopes.0});
        sqlx::query(INSERT_BEFORE).bind(TENANT.0).bind(token.created_at).execute(&mut connection).await.unwrap();
        let insert = sqlx::query(TOKEN_BEFORE).bind(TENANT.0).bind(token.id.0).bind($hash.0.as_slice());
        let insert = insert.bind(&token.name).bind(&token.prefix).bind(sqlx::types::Json(scopes));
        insert.bind(token.created_at).bind(token.expires_at).execute(&mut connection).await.unwrap();
        // A node of that version has prepared its statement, and goes on with it.
        for upgraded in [false, true] {
            if upgraded {
                Repository::connect($url, options()).await.unwrap().migrate().await.unwrap();
            }
            let rows = sqlx::query(FIND_BEFORE).bind($hash.0.as_slice()).fetch_all(&mut connection).await.unwrap();
            assert_eq!(rows.len(), 1, "upgraded: {upgraded}");
        }
    }};
}

#[tokio::test]
async fn a_token_of_the_version_before_goes_on_after_the_upgrade() {
    let (files, database) = (TempDir::new().unwrap(), Database::create());
    let sqlite = format!("sqlite://{}?mode=rwc", files.path().join("tollgate.db").display());
    let postgres = database.url();
    let secret = TokenSecret::chosen("tgt_admin_stories_0123456789abcdefghij").unwrap();
    let now = at("2026-05-15T10:30:00Z");
    let id = tollgate_domain::TokenId(uuid::Uuid::from_u128(7));
    let token = AdminToken::unlimited(id, TENANT, "bootstrap", secret.prefix(), now);
    upgrade!(SqliteConnection, &sqlite, &token, secret.hash());
    upgrade!(PgConnection, &postgres, &token, secret.hash());
    for url in [sqlite, postgres] {
        let repository = Repository::connect(&url, options()).await.unwrap();
        let found = repository.tokens().by_secret(&secret.hash(), now).await.unwrap().unwrap();
        assert_eq!(found.token, token);
        assert!(repository.tokens().chosen_secrets().await.unwrap() == [secret.hash()], "it may lack a checksum");
    }
}

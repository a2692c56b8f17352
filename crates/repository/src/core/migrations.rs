//! The schema's history: the files of `migrations/`, those of `migrations/postgres/` for PostgreSQL only. A new file is listed here.

use std::{borrow::Cow, path::PathBuf};

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::{
    Error, Repository,
    core::database::{Engine, locked},
};

/// Version, name and text of a file below `migrations/`.
macro_rules! migration {
    ($version:literal, $name:literal, $path:literal) => {
        ($version, $name, include_str!(concat!("../../../../migrations/", $path)))
    };
}

const COMMON: &[(i64, &str, &str)] = &[
    migration!(1, "initial", "0001_initial.sql"),
    migration!(2, "tokens", "0002_tokens.sql"),
    migration!(3, "usage by time", "0003_usage_by_time.sql"),
];
const POSTGRES: &[(i64, &str, &str)] = &[
    migration!(1001, "byte order", "postgres/1001_byte_order.sql"),
    migration!(1003, "usage storage", "postgres/1003_usage_storage.sql"),
];

/// A migration takes as long as it takes, and so does waiting for another process's. The lock ends with the transaction:
/// behind a pooler nothing else is sure to.
const BEFORE: &str = "set local statement_timeout = 0; select pg_advisory_xact_lock(7816408310921213)";

impl Repository {
    /// Brings the schema up to date. Any number of processes may do so at once: an advisory lock of PostgreSQL, or the lock of
    /// the file beside SQLite's, lets one in at a time. On PostgreSQL all that is missing is one transaction.
    pub async fn migrate(&self) -> Result<(), Error> {
        match &self.primary {
            Engine::Sqlite(pool) => {
                let _lock = match &self.lock_file {
                    Some(path) => Some(locked(PathBuf::clone(path)).await?),
                    None => None,
                };
                migrator(COMMON).run(pool).await.map_err(failed)
            }
            Engine::Postgres(db) => {
                let mut tx = db.begin().await?;
                sqlx::raw_sql(BEFORE).execute(&mut *tx).await?;
                tx.drop_names().await?;
                for files in [COMMON, POSTGRES] {
                    let mut migrator = migrator(files);
                    migrator.set_locking(false);
                    migrator.run_direct(None, tx.connection(), false).await.map_err(failed)?;
                }
                tx.drop_names().await?;
                Ok(tx.commit().await?)
            }
        }
    }
}

fn migrator(files: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |(version, name, text): &(i64, &'static str, &'static str)| {
        Migration::new(
            *version,
            Cow::Borrowed(*name),
            MigrationType::Simple,
            sqlx::SqlSafeStr::into_sql_str(*text),
            false,
        )
    };
    let mut migrator = Migrator::with_migrations(files.iter().map(migration).collect());
    // Each of the two finds the other's versions in the one table of what was applied.
    migrator.set_ignore_missing(true);
    migrator
}

/// A database that is away during a migration is no failed migration.
fn failed(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(cause) => Error::from(cause),
        MigrateError::ExecuteMigration(cause @ (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut), _) => {
            Error::from(cause)
        }
        other => Error::Migrate(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_listed_under_its_version() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        for (folder, files) in [(root.clone(), COMMON), (root.join("postgres"), POSTGRES)] {
            let mut on_disk: Vec<_> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "sql"))
                .map(|path| {
                    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    let (version, name) = name.split_once('_').unwrap();
                    (version.parse::<i64>().unwrap(), name.replace('_', " "), std::fs::read_to_string(&path).unwrap())
                })
                .collect();
            on_disk.sort();
            let listed: Vec<_> = files.iter().map(|(v, n, t)| (*v, (*n).to_owned(), (*t).to_owned())).collect();
            assert_eq!(on_disk, listed);
        }
    }
}

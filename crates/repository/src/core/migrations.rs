//! The schema's history: one sequence of files for both engines. Add a new file to the list here.

use std::{borrow::Cow, path::PathBuf};

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::{
    Error, Repository,
    core::database::{Engine, locked},
};

/// A file below `migrations/`, named `<version>_<name>.sql`, or `.<engine>.sql` for one engine only.
struct File {
    version: i64,
    name: &'static str,
    engine: Option<&'static str>,
    text: &'static str,
}

macro_rules! file {
    ($version:literal, $name:literal, $path:literal) => {
        file!($version, $name, None, $path)
    };
    ($version:literal, $name:literal, $engine:expr, $path:literal) => {
        File {
            version: $version,
            name: $name,
            engine: $engine,
            text: include_str!(concat!("../../../../migrations/", $path)),
        }
    };
}

const SQLITE: Option<&str> = Some("sqlite");
const POSTGRES: Option<&str> = Some("postgres");

/// In the order of their application.
const FILES: &[File] = &[
    file!(1, "initial", "0001_initial.sql"),
    file!(2, "tokens", "0002_tokens.sql"),
    file!(3, "usage by time", "0003_usage_by_time.sql"),
    file!(4, "byte order", POSTGRES, "0004_byte_order.postgres.sql"),
    file!(5, "usage storage", POSTGRES, "0005_usage_storage.postgres.sql"),
    file!(6, "open values", SQLITE, "0006_open_values.sqlite.sql"),
    file!(6, "open values", POSTGRES, "0006_open_values.postgres.sql"),
    file!(7, "prices", "0007_prices.sql"),
    file!(8, "billing accounts", SQLITE, "0008_billing_accounts.sqlite.sql"),
    file!(8, "billing accounts", POSTGRES, "0008_billing_accounts.postgres.sql"),
    file!(9, "billing records", "0009_billing_records.sql"),
    file!(10, "billing is final", SQLITE, "0010_billing_is_final.sqlite.sql"),
    file!(10, "billing is final", POSTGRES, "0010_billing_is_final.postgres.sql"),
    file!(11, "watermarks", "0011_watermarks.sql"),
    file!(12, "event identity", "0012_event_identity.sql"),
    file!(13, "reconciliation", "0013_reconciliation.sql"),
];

/// A migration, and waiting for another process's, may take any time. The lock ends with the transaction, because
/// behind a pooler nothing else is certain to end it.
const BEFORE: &str = "set local statement_timeout = 0; select pg_advisory_xact_lock(7816408310921213)";
/// PostgreSQL's own files were once a second sequence, from 1001 on.
const ONE_SEQUENCE: &str = "do $$ begin
    if to_regclass('_sqlx_migrations') is not null then
        update _sqlx_migrations set version = 4 where version = 1001;
        update _sqlx_migrations set version = 5 where version = 1003;
    end if;
end $$";

impl Repository {
    /// Updates the schema. Any number of processes may call it at once: an advisory lock of PostgreSQL, or the lock of
    /// the file next to SQLite's, admits one at a time. On PostgreSQL all missing migrations are one transaction.
    pub async fn migrate(&self) -> Result<(), Error> {
        self.apply_files().await?;
        self.ensure_prices().await?;
        self.ensure_baseline().await
    }

    async fn apply_files(&self) -> Result<(), Error> {
        match &self.primary {
            Engine::Sqlite(pool) => {
                let _lock = match &self.lock_file {
                    Some(path) => Some(locked(PathBuf::clone(path)).await?),
                    None => None,
                };
                migrator(SQLITE).run(pool).await.map_err(failed)
            }
            Engine::Postgres(db) => {
                let mut tx = db.begin().await?;
                sqlx::raw_sql(BEFORE).execute(&mut *tx).await?;
                tx.drop_names().await?;
                sqlx::raw_sql(ONE_SEQUENCE).execute(&mut *tx).await?;
                let mut migrator = migrator(POSTGRES);
                migrator.set_locking(false);
                migrator.run_direct(None, tx.connection(), false).await.map_err(failed)?;
                tx.drop_names().await?;
                Ok(tx.commit().await?)
            }
        }
    }
}

fn migrator(engine: Option<&str>) -> Migrator {
    let migration = |file: &File| {
        let text = sqlx::SqlSafeStr::into_sql_str(file.text);
        Migration::new(file.version, Cow::Borrowed(file.name), MigrationType::Simple, text, false)
    };
    let files = FILES.iter().filter(|file| file.engine.is_none() || file.engine == engine);
    let mut migrator = Migrator::with_migrations(files.map(migration).collect());
    // A node of the previous version may start after the new one has migrated.
    migrator.set_ignore_missing(true);
    migrator
}

/// An outage of the database during a migration is no failed migration.
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
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_migration_file_is_listed_under_its_version_name_and_engine() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        let on_disk = std::fs::read_dir(root).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        });
        let listed = FILES.iter().map(|file| {
            let engine = file.engine.map(|engine| format!(".{engine}")).unwrap_or_default();
            (format!("{:04}_{}{engine}.sql", file.version, file.name.replace(' ', "_")), file.text.to_owned())
        });
        assert_eq!(on_disk.collect::<BTreeMap<_, _>>(), listed.collect());
        assert!(FILES.is_sorted_by_key(|file| file.version));
    }
}

//! The engine behind a URL: SQLite in a file, or PostgreSQL with an optional replica. The scheme decides.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Error,
    core::{
        options::{Options, PoolStats},
        outages::Outages,
        postgres::{PgDatabase, PgTx},
    },
};

/// One variant per engine, for pools ([`Database`]) and transactions ([`Tx`]).
#[derive(Clone)]
pub(crate) enum Engine<S, P> {
    Sqlite(S),
    Postgres(P),
}

pub(crate) type Database = Engine<SqlitePool, PgDatabase>;
pub(crate) type Tx = Engine<Transaction<'static, Sqlite>, PgTx>;

/// Evaluates one expression for either engine.
macro_rules! on {
    ($engine:expr, $inner:ident => $body:expr) => {
        match $engine {
            $crate::core::database::Engine::Sqlite($inner) => $body,
            $crate::core::database::Engine::Postgres($inner) => $body,
        }
    };
}

/// How long a SQLite connection waits for a writer of another process.
const SQLITE_BUSY: Duration = Duration::from_secs(5);

/// The tables. Clones share their connections.
#[derive(Clone)]
pub struct Repository {
    pub(crate) primary: Database,
    pub(crate) replica: Option<Database>,
    /// Held by SQLite's only writer, and by writes that take a revision; see `write`.
    pub(crate) writer: Arc<tokio::sync::Mutex<()>>,
    /// The file that is locked during a SQLite migration.
    pub(crate) lock_file: Option<PathBuf>,
    pub(crate) outages: Arc<Outages>,
}

impl Repository {
    /// Opens `sqlite://path` (creates file and folders) or `postgres://…`. A PostgreSQL that is down is no error here,
    /// but [`Error::Unavailable`] at each use. A SQLite file that cannot be opened is an error.
    pub async fn connect(url: &str, options: Options) -> Result<Self, Error> {
        let (writer, outages) = (Arc::default(), Arc::default());
        if url.starts_with("sqlite:") {
            if options.replica_url.is_some() {
                return Err(Error::Url("a replica needs PostgreSQL; this is SQLite".to_owned()));
            }
            let (pool, lock_file) = connect_sqlite(url, &options).await?;
            return Ok(Self {
                primary: Engine::Sqlite(pool),
                replica: None,
                writer,
                lock_file: Some(lock_file),
                outages,
            });
        }
        let primary = Engine::Postgres(PgDatabase::new(url, &options)?);
        let replica = options.replica_url.as_deref().map(|url| PgDatabase::new(url, &options)).transpose()?;
        Ok(Self { primary, replica: replica.map(Engine::Postgres), writer, lock_file: None, outages })
    }

    /// The same tables over separate connections: up to `max`, and as many to the replica.
    /// Writers of both handles take turns.
    pub async fn with_connections_of_its_own(&self, max: u32) -> Result<Self, Error> {
        let primary = match &self.primary {
            Engine::Sqlite(pool) => {
                let options = pool.options().clone().max_connections(max);
                Engine::Sqlite(options.connect_with((*pool.connect_options()).clone()).await?)
            }
            Engine::Postgres(db) => Engine::Postgres(db.with_connections_of_its_own(max)),
        };
        let replica = self.replica.as_ref().and_then(|replica| match replica {
            Engine::Sqlite(_) => None,
            Engine::Postgres(db) => Some(Engine::Postgres(db.with_connections_of_its_own(max))),
        });
        Ok(Self {
            primary,
            replica,
            writer: self.writer.clone(),
            lock_file: self.lock_file.clone(),
            outages: Arc::default(),
        })
    }

    /// Measures a round trip to the primary, including the wait for a connection.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let started = Instant::now();
        self.read(|db| async move { on!(&db, pool => sqlx::query("select 1").execute(pool).await.map(|_| ())) })
            .await?;
        Ok(started.elapsed())
    }

    /// Sizes of the pool of connections to the primary.
    pub fn pool(&self) -> PoolStats {
        on!(&self.primary, pool => PoolStats {
            size: pool.size(),
            idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
            max: pool.options().get_max_connections(),
        })
    }

    /// `"sqlite"` or `"postgres"`.
    pub fn engine(&self) -> &'static str {
        match self.primary {
            Engine::Sqlite(_) => "sqlite",
            Engine::Postgres(_) => "postgres",
        }
    }

    /// Waits for operations in progress and closes every connection.
    pub async fn close(&self) {
        on!(&self.primary, pool => pool.close().await);
        if let Some(replica) = &self.replica {
            on!(replica, pool => pool.close().await);
        }
    }

    /// A transaction that may write. SQLite takes the write lock now: if it took it only at the first write, that would
    /// fail after another writer had written in between.
    pub(crate) async fn begin(&self) -> Result<Tx, Error> {
        Ok(match &self.primary {
            Engine::Sqlite(pool) => Engine::Sqlite(pool.begin_with("begin immediate").await?),
            Engine::Postgres(db) => Engine::Postgres(db.begin().await?),
        })
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), Error> {
        on!(self, tx => tx.commit().await).map_err(Error::from)
    }
}

async fn connect_sqlite(url: &str, options: &Options) -> Result<(SqlitePool, PathBuf), Error> {
    let path = url.strip_prefix("sqlite://").unwrap_or_default();
    if path.is_empty() || path.starts_with(':') {
        return Err(Error::Url("SQLite needs a file: sqlite://path".to_owned()));
    }
    let connect = SqliteConnectOptions::from_str(url)
        .map_err(|e| Error::Url(e.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY)
        .disable_statement_logging();
    let file = connect.get_filename().to_path_buf();
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
    }
    let lock_file = beside(&file);
    // Two processes that both switch a new file to write-ahead logging disturb each other.
    let _lock = locked(lock_file.clone()).await?;
    let pool = SqlitePoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(connect)
        .await?;
    Ok((pool, lock_file))
}

/// `<database>.lock`, next to the database.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Waits for the lock. Closing the file releases it, and so does a kill.
pub(crate) async fn locked(path: PathBuf) -> Result<std::fs::File, Error> {
    let locking = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locking.await.map_err(std::io::Error::other).flatten().map_err(|e| Error::from(sqlx::Error::Io(e)))
}

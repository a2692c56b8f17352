//! Errors, divided by what the caller can do about them.

use sqlx::error::ErrorKind;

/// Why an operation failed. No text contains a secret, a bound value or a connection's password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is down, hangs, has no free connection, or keeps aborting the transaction. Try again later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database accepts no writes, because it is a standby or set read-only.
    #[error("the database is read-only")]
    ReadOnly,
    /// The database has no space left.
    #[error("the database's disk is full")]
    Full,
    /// The row already exists, is still in use, or refers to a row that does not exist.
    #[error("the write conflicts with what is stored")]
    Conflict,
    /// A key would go to a plan of another currency while its period holds an amount.
    #[error("the period holds an amount in another currency")]
    CurrencyMismatch,
    /// A stored value that cannot be parsed. Contains its table and column.
    #[error("unreadable stored value: {0}")]
    Corrupt(String),
    /// Any other error of the database: a bug, or a wrong setup.
    #[error(transparent)]
    Database(sqlx::Error),
    /// PostgreSQL is behind a pooler in transaction mode, and `database.pooler` is not set.
    #[error("PostgreSQL is behind a pooler in transaction mode: set database.pooler = true ({0})")]
    Pooler(#[source] sqlx::Error),
    /// The schema could not be updated.
    #[error("migration failed: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database URL cannot be used.
    #[error("database url: {0}")]
    Url(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => {
                Self::Unavailable(error)
            }
            E::Database(database) => match kind(database.as_ref()) {
                Kind::Lost | Kind::Contention => Self::Unavailable(error),
                Kind::ReadOnly => Self::ReadOnly,
                Kind::Full => Self::Full,
                Kind::Conflict => Self::Conflict,
                Kind::Pooler => Self::Pooler(error),
                Kind::Other => Self::Database(error),
            },
            E::ColumnDecode { index, source } => Self::Corrupt(format!("column {index}: {source}")),
            E::Decode(source) => Self::Corrupt(source.to_string()),
            _ => Self::Database(error),
        }
    }
}

impl Error {
    /// Whether the connection died during the operation, so that another one may succeed at once.
    /// False when no connection was free.
    pub(crate) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Io(io)) => io.kind() != std::io::ErrorKind::TimedOut,
            Self::Unavailable(sqlx::Error::WorkerCrashed) => true,
            Self::Unavailable(sqlx::Error::Database(database)) => matches!(kind(database.as_ref()), Kind::Lost),
            _ => false,
        }
    }

    /// Whether the database undid the transaction because of another one, so that running it again may succeed.
    pub(crate) fn is_contention(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Database(database)) => matches!(kind(database.as_ref()), Kind::Contention),
            _ => false,
        }
    }

    /// The error of an operation that passed its deadline.
    pub(crate) fn deadline() -> Self {
        let io = std::io::Error::new(std::io::ErrorKind::TimedOut, "the operation passed its deadline");
        Self::Unavailable(sqlx::Error::Io(io))
    }
}

enum Kind {
    Lost,
    Contention,
    ReadOnly,
    Full,
    Conflict,
    Pooler,
    Other,
}

/// The kind of a SQLSTATE (PostgreSQL, appendix A) or of a primary result code (SQLite, whose extended
/// codes contain it in the low byte).
fn kind(error: &dyn sqlx::error::DatabaseError) -> Kind {
    if matches!(error.kind(), ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation) {
        return Kind::Conflict;
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return match code.parse::<i32>().map(|extended| extended & 0xff) {
            Ok(5 | 6) => Kind::Contention, // BUSY, LOCKED
            Ok(8) => Kind::ReadOnly,       // READONLY
            Ok(13) => Kind::Full,          // FULL
            Ok(10 | 14) => Kind::Lost,     // IOERR, CANTOPEN
            _ => Kind::Other,
        };
    }
    match code.as_ref() {
        "40001" | "40P01" => Kind::Contention, // serialization_failure, deadlock_detected
        "25006" => Kind::ReadOnly,             // read_only_sql_transaction
        "53100" => Kind::Full,                 // disk_full
        // Shutdown, crash, starting up, statement or idle time-out, too many connections, out of memory.
        "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "25P03" | "53300" | "53200" => Kind::Lost,
        // Another client's statement has the name, or ours is on another connection of the pooler.
        "42P05" | "26000" => Kind::Pooler, // duplicate_prepared_statement, invalid_sql_statement_name
        // PgBouncer refuses a connection's settings, which are the first thing that it receives.
        "08P01" if error.message().contains("startup parameter") => Kind::Pooler,
        class if class.starts_with("08") => Kind::Lost, // connection exceptions
        _ => Kind::Other,
    }
}

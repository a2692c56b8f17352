//! Why a use case could not be done. A refused check is no error; a key that may not be used at all is one.

use std::time::Duration;

use chrono::SecondsFormat;
use tollgate_domain::{Excess, Invalid, Scope, outage::is_out_of_files};

/// The errors of every use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body's fields are wrong; every one is named.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The request is wrong as a whole: a query parameter, two credentials that differ.
    #[error("{0}")]
    BadRequest(String),
    /// Missing, malformed, unknown or deleted credential: all alike.
    #[error("the credential is missing or not valid")]
    InvalidCredential,
    /// The key's time is over.
    #[error("the API key has expired")]
    KeyExpired,
    /// The key was revoked.
    #[error("the API key is revoked")]
    KeyRevoked,
    /// The key is suspended.
    #[error("the API key is suspended")]
    KeySuspended {
        /// None: until somebody resumes it.
        retry_after: Option<Duration>,
    },
    /// The caller's address is not on the key's or token's list.
    #[error("the address is not allowed for this credential")]
    IpNotAllowed,
    /// The caller's country is not on the key's list.
    #[error("the country is not allowed for this API key")]
    CountryNotAllowed,
    /// The token lacks a scope.
    #[error("this needs the scope {0}")]
    Forbidden(Scope),
    /// The token would be good for more than the caller's.
    #[error("a token grants at most what the caller's has: {}", what_exceeds(.0))]
    Exceeds(Excess),
    /// A client key may only read about itself.
    #[error("an API key may only read its own rate-limit/info and usage; use an admin token")]
    NotForClients,
    /// No such thing, or not the caller's.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The state does not admit the change.
    #[error("{0}")]
    Conflict(String),
    /// `If-Match` names another version.
    #[error("the version has changed: it is {current} now")]
    VersionMismatch {
        /// The version in force.
        current: i64,
    },
    /// A store that is needed is down.
    #[error("{store} is unavailable")]
    Unavailable {
        /// Which one.
        store: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// A bug, or a store that holds what it must not.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// The same failure for another caller who waited for the same thing.
    pub(crate) fn shared(&self) -> Self {
        match self {
            Self::Unavailable { store, retry_after } => Self::Unavailable { store, retry_after: *retry_after },
            other => Self::Internal(other.to_string()),
        }
    }

    /// The database is away; a second is what a fail-over takes at best.
    pub(crate) fn database_down() -> Self {
        Self::Unavailable { store: "the database", retry_after: Duration::from_secs(1) }
    }
}

impl From<tollgate_repository::Error> for Error {
    fn from(error: tollgate_repository::Error) -> Self {
        use tollgate_repository::Error as Stored;
        match error {
            Stored::Unavailable(_) => Self::database_down(),
            Stored::ReadOnly => {
                Self::Unavailable { store: "the database (it is read-only)", retry_after: Duration::from_secs(5) }
            }
            Stored::Full => {
                Self::Unavailable { store: "the database (its disk is full)", retry_after: Duration::from_secs(30) }
            }
            Stored::Conflict => Self::Conflict("it exists already, or is in use".into()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<tollgate_limiter::Error> for Error {
    fn from(error: tollgate_limiter::Error) -> Self {
        match error {
            tollgate_limiter::Error::Unavailable { retry_after } => {
                Self::Unavailable { store: "the limiter's store", retry_after }
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<tollgate_jobs::Error> for Error {
    fn from(error: tollgate_jobs::Error) -> Self {
        tracing::debug!(%error, "the queue failed");
        Self::Unavailable { store: "the job queue", retry_after: Duration::from_secs(1) }
    }
}

impl From<tollgate_journal::Error> for Error {
    fn from(error: tollgate_journal::Error) -> Self {
        use tollgate_journal::Error as Kept;
        match &error {
            Kept::OutOfFiles => tracing::error!(%error, "out of file descriptors: the journal takes no records"),
            Kept::Io { cause, .. } if is_out_of_files(cause) => {
                tracing::error!(%error, "out of file descriptors: the journal cannot be read");
            }
            Kept::Io { .. } | Kept::Gone { .. } | Kept::Corrupt { .. } => {
                tracing::error!(%error, "the journal cannot be read");
            }
            _ => tracing::error!(%error, "the journal refused a record"),
        }
        Self::Unavailable { store: "the journal", retry_after: Duration::from_secs(1) }
    }
}

impl From<tollgate_domain::secret::NoRandomness> for Error {
    fn from(error: tollgate_domain::secret::NoRandomness) -> Self {
        Self::Internal(error.to_string())
    }
}

/// What the caller's token lacks.
fn what_exceeds(excess: &Excess) -> String {
    match excess {
        Excess::Scope(scope) => format!("it lacks the scope {scope}"),
        Excess::Expiry(at) => format!("it ends at {}", at.to_rfc3339_opts(SecondsFormat::Micros, true)),
        Excess::Network(None) => "it may not be used from everywhere; name the networks in allowed_ips".into(),
        Excess::Network(Some(_)) => "it may not be used from all of these networks".into(),
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The database.
    #[error("database: {0}")]
    Repository(#[from] tollgate_repository::Error),
    /// The limiter.
    #[error("limiter: {0}")]
    Limiter(#[from] tollgate_limiter::Error),
    /// The queue.
    #[error("queue: {0}")]
    Queue(#[from] tollgate_jobs::Error),
    /// The journal.
    #[error("journal: {0}")]
    Journal(#[from] tollgate_journal::Error),
    /// The metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The thread for background work.
    #[error("a thread for background work: {0}")]
    Thread(#[source] std::io::Error),
    /// The bootstrap token.
    #[error("TOLLGATE_BOOTSTRAP_TOKEN must be \"tgt_admin_\" and 24 to 200 further visible ASCII characters")]
    BootstrapToken,
    /// A command's argument.
    #[error(transparent)]
    Argument(#[from] Invalid),
    /// The operating system.
    #[error(transparent)]
    Randomness(#[from] tollgate_domain::secret::NoRandomness),
}

//! Why a use case failed. A refused check is no error; a key that may not be used at all is one.

use std::time::Duration;

use chrono::SecondsFormat;
use tollgate_domain::{Excess, Invalid, Scope, TooLarge, outage::is_out_of_files};

/// The errors of every use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the body are wrong. The message names every one.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The request as a whole is wrong: a query parameter, or two different credentials.
    #[error("{0}")]
    BadRequest(String),
    /// A missing, malformed, unknown or deleted credential. The answer does not distinguish them.
    #[error("the credential is missing or not valid")]
    InvalidCredential,
    /// The key has expired.
    #[error("the API key has expired")]
    KeyExpired,
    /// The key was revoked.
    #[error("the API key is revoked")]
    KeyRevoked,
    /// The key is suspended.
    #[error("the API key is suspended")]
    KeySuspended {
        /// None when only an operator can resume it.
        retry_after: Option<Duration>,
    },
    /// The caller's address is not in the key's or token's list.
    #[error("the address is not allowed for this credential")]
    IpNotAllowed,
    /// The caller's country is not in the key's list.
    #[error("the country is not allowed for this API key")]
    CountryNotAllowed,
    /// The token lacks a scope.
    #[error("this needs the scope {0}")]
    Forbidden(Scope),
    /// The new token would grant more than the caller's.
    #[error("a token grants at most what the caller's has: {}", what_exceeds(.0))]
    Exceeds(Excess),
    /// A client key may only read about itself.
    #[error("an API key may only read its own rate-limit/info and usage; use an admin token")]
    NotForClients,
    /// It does not exist, or belongs to another tenant.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The present state does not allow the change.
    #[error("{0}")]
    Conflict(String),
    /// The key would go to a plan of another currency while its period holds an amount.
    #[error("the billing period holds an amount in another currency; change the tier in a period that owes nothing")]
    CurrencyMismatch,
    /// `If-Match` names another version.
    #[error("the version has changed: it is {current} now")]
    VersionMismatch {
        /// The current version.
        current: i64,
    },
    /// A required store is down.
    #[error("{store} is unavailable")]
    Unavailable {
        /// The store's name.
        store: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// A bug, or invalid data in a store.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// A copy of the error, for another caller who waited for the same result.
    pub(crate) fn shared(&self) -> Self {
        match self {
            Self::Unavailable { store, retry_after } => Self::Unavailable { store, retry_after: *retry_after },
            other => Self::Internal(other.to_string()),
        }
    }

    /// The database is down. The retry time of a second is what a fail-over takes at best.
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
            Stored::CurrencyMismatch => Self::CurrencyMismatch,
            Stored::Conflict => Self::Conflict("it exists already, or is in use".into()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<TooLarge> for Error {
    fn from(error: TooLarge) -> Self {
        Self::Invalid(Invalid::field("", error.to_string()))
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
                tracing::error!(%error, "cannot read the journal");
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

/// Names what the caller's token lacks.
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
    /// The settings are invalid.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The database cannot be opened.
    #[error("database: {0}")]
    Repository(#[from] tollgate_repository::Error),
    /// The limiter cannot be opened.
    #[error("limiter: {0}")]
    Limiter(#[from] tollgate_limiter::Error),
    /// The queue cannot be opened, or may lose jobs.
    #[error("queue: {0}")]
    Queue(#[from] tollgate_jobs::Error),
    /// The journal cannot be opened.
    #[error("journal: {0}")]
    Journal(#[from] tollgate_journal::Error),
    /// The metrics cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The thread for background work cannot be started.
    #[error("a thread for background work: {0}")]
    Thread(#[source] std::io::Error),
    /// The bootstrap token has the wrong form.
    #[error("TOLLGATE_BOOTSTRAP_TOKEN must be \"tgt_admin_\" and 24 to 200 further visible ASCII characters")]
    BootstrapToken,
    /// A command's argument is invalid.
    #[error(transparent)]
    Argument(#[from] Invalid),
    /// The operating system has no random bytes.
    #[error(transparent)]
    Randomness(#[from] tollgate_domain::secret::NoRandomness),
}

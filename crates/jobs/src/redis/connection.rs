//! One multiplexed connection, replaced when it is suspect; and the log lines about a Redis that is down.
//!
//! redis-rs's connection manager does not fit: it keeps a connection that never answers, and it returns an error that
//! it met while connecting (`LOADING`, too many clients) for ever instead of trying again.

use std::time::{Duration, Instant};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::sync::Mutex;
use tollgate_domain::Outage;

/// The system's text for `EMFILE` and `ENFILE`.
const OUT_OF_FILES: &str = "Too many open files";
/// How long connecting and its handshake may take: on a local network they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a reply may take. A script over a full batch takes milliseconds, so the server is
/// paused or unreachable after this.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Connection {
    client: Client,
    live: Mutex<Live>,
    outage: Outage,
}

#[derive(Default)]
struct Live {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late error of an old connection does not close a newer one.
    generation: u64,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, live: Mutex::default(), outage: Outage::default() }
    }

    /// Runs `call` on the connection and makes one first if there is none. It tries once,
    /// within both timeouts together.
    pub(super) async fn with<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let outcome = self.attempt(call).await;
        match &outcome {
            Err(error) if is_outage(error) => self.log_outage(error),
            Ok(_) | Err(_) => {
                if self.outage.ends() {
                    tracing::info!("the queue's Redis answers again");
                }
            }
        }
        outcome
    }

    fn log_outage(&self, error: &RedisError) {
        let cause = match error.code() {
            Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
            None => error.to_string(),
        };
        let why = if cause.contains(OUT_OF_FILES) { OUT_OF_FILES } else { "away" };
        if !self.outage.goes_on(Instant::now(), why) {
            return;
        }
        if why == OUT_OF_FILES {
            tracing::error!(cause, "out of file descriptors: the queue's Redis cannot be reached; trying again");
        } else {
            tracing::warn!(cause, "cannot use the queue's Redis; trying again");
        }
    }

    async fn attempt<T>(&self, call: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>) -> RedisResult<T> {
        let (mut connection, generation) = self.connection().await?;
        let result = call(&mut connection).await;
        if result.as_ref().is_err_and(is_suspect) {
            let mut live = self.live.lock().await;
            if live.generation == generation {
                live.connection = None;
            }
        }
        result
    }

    async fn connection(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        let mut live = self.live.lock().await;
        if let Some(connection) = &live.connection {
            return Ok((connection.clone(), live.generation));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        live.generation += 1;
        live.connection = Some(connection.clone());
        Ok((connection, live.generation))
    }
}

/// Whether the server or the network to it fails. A missing script (`NOSCRIPT`) is neither.
pub(super) fn is_outage(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => kind != ServerErrorKind::NoScript,
        ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

/// Whether a new connection may do better: true for everything but an error reply of a healthy primary.
fn is_suspect(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => {
            matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        }
        ErrorKind::Extension | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

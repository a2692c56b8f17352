//! One multiplexed connection that is made again when it is suspect.
//!
//! Not the library's connection manager: that one keeps a connection that answers nothing, and for ever repeats an error
//! met while connecting (`LOADING`, too many clients) instead of trying again.

use std::time::{Duration, Instant};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::sync::Mutex;
use tollgate_domain::Outage;

/// What the system says of `EMFILE` and of `ENFILE`.
const OUT_OF_FILES: &str = "Too many open files";
/// To connect, and to say hello.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A script over a full batch takes milliseconds; longer means a paused or unreachable server.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Connection {
    client: Client,
    live: Mutex<Live>,
    outage: Outage,
}

#[derive(Default)]
struct Live {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late error of an earlier one does not close its successor.
    generation: u64,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, live: Mutex::default(), outage: Outage::default() }
    }

    /// Runs `call` on the connection, made first if need be: one try, bounded by both timeouts together.
    pub(super) async fn with<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let outcome = self.attempt(call).await;
        match &outcome {
            Err(error) if is_outage(error) => self.say(error),
            Ok(_) | Err(_) => {
                if self.outage.ends() {
                    tracing::info!("the queue's Redis answers again");
                }
            }
        }
        outcome
    }

    fn say(&self, error: &RedisError) {
        let said = match error.code() {
            Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
            None => error.to_string(),
        };
        let why = if said.contains(OUT_OF_FILES) { OUT_OF_FILES } else { "away" };
        if !self.outage.goes_on(Instant::now(), why) {
            return;
        }
        if why == OUT_OF_FILES {
            tracing::error!(said, "out of file descriptors: the queue's Redis cannot be reached");
        } else {
            tracing::warn!(said, "the queue's Redis cannot be used");
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

/// Whether it is the server, or the way to it, that fails; a script that is not loaded yet is none of both.
fn is_outage(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => kind != ServerErrorKind::NoScript,
        ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

/// Whether another connection may do better: anything but an answer of a healthy primary.
fn is_suspect(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => {
            matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        }
        ErrorKind::Extension | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

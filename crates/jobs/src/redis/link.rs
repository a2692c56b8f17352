//! One multiplexed connection that is made again when it is suspect.
//!
//! Not the library's connection manager: that one keeps a connection that answers nothing, and for ever repeats an error
//! met while connecting (`LOADING`, too many clients) instead of trying again.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::sync::Mutex;

/// To connect, and to say hello.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A script over a full batch takes milliseconds; longer means a paused or unreachable server.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Link {
    client: Client,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late error of an earlier one does not close its successor.
    generation: u64,
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self { client, live: Mutex::default() }
    }

    /// Runs `call` on the connection, made first if need be: one try, bounded by both timeouts together.
    pub(super) async fn with<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
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

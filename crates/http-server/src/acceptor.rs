//! Accepts connections within the caps, and survives a lack of file descriptors.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    connections::Connections,
    exchange::serve_connection,
    service::{HttpService, Peer},
};

/// Pause after `accept` failed for lack of file descriptors: long enough not to spin, short
/// enough that clients do not notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Of this many attempts in a row that fail for lack of a file descriptor, one closes an idle
/// connection: about one a second.
const DISPLACE_EVERY: u32 = 50;
/// How often a waiting connection checks whether another one has become idle.
const ROOM_PAUSE: Duration = Duration::from_millis(50);
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Accepts connections and starts a task for each.
pub(crate) struct Acceptor {
    listener: TcpListener,
    connections: Arc<Connections>,
    permits: Arc<Semaphore>,
    /// When the log last said that the server cannot accept connections.
    announced: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, connections: Arc<Connections>, permits: Arc<Semaphore>) -> Self {
        Self { listener, connections, permits, announced: None }
    }

    /// Returns only when the permits are closed, which nothing does.
    pub(crate) async fn run<S: HttpService>(&mut self, service: &Arc<S>) {
        let max_body_bytes = self.connections.limits().max_body_bytes;
        loop {
            let (stream, peer) = self.next_connection().await;
            if !self.connections.admits(peer.ip()) {
                continue;
            }
            let Some(permit) = self.permit().await else { return };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            self.connections.spawn(peer.ip(), |connection| {
                serve_connection(stream, Peer(peer), Arc::clone(service), max_body_bytes, connection, permit)
            });
        }
    }

    /// Waits for room for one more connection.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned();
            if self.connections.displace() {
                return permit.await.ok();
            }
            if let Ok(permit) = timeout(ROOM_PAUSE, permit).await {
                return permit.ok();
            }
        }
    }

    /// Waits while there are no file descriptors, and closes idle connections to free some. Skips a
    /// connection that broke in the queue.
    async fn next_connection(&mut self) -> (TcpStream, SocketAddr) {
        let mut failures = 0_u32;
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.announce(&error);
                    // One descriptor should be enough. If it is not, other code takes them, and closing every
                    // idle connection helps nobody.
                    if is_out_of_files(&error) && failures.is_multiple_of(DISPLACE_EVERY) {
                        self.connections.displace();
                    }
                    failures = failures.wrapping_add(1);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn announce(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.announced.is_some_and(|said| now.duration_since(said) < BETWEEN_LINES) {
            return;
        }
        self.announced = Some(now);
        if is_out_of_files(error) {
            tracing::error!(%error, "out of file descriptors: idle connections make way for new ones");
        } else {
            tracing::error!(%error, "cannot accept connections; trying again");
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Whether the process (`EMFILE`) or the machine (`ENFILE`) has as many files open as it may. The
/// numbers are the same on every Unix.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

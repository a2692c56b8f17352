//! A whole node: HTTP, the worker next to it, and the order in which everything stops.

use std::{fmt::Display, io, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tollgate_domain::{Network, TokenSecret};
use tollgate_http_server::{Limits, Server};
use tollgate_service::{Config, Service, StartError, config::Listen};

use crate::{app::App, body::json, open_files::room_for, routes};

/// How long requests in flight may take after the listener is closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the journal may take to reach the database at a stop. The next start ships the rest.
const SHIP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to send its body and read its answer, beyond the request's own bounds.
const SLOW_CLIENT: Duration = Duration::from_secs(30);
/// Most connections of the admin listener, which only operators' tools use.
const ADMIN_CONNECTIONS: usize = 256;

/// Why a node could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the service.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener could not be bound.
    #[error("{key} = {listen}: {error}")]
    Bind {
        /// The setting of the address.
        key: &'static str,
        /// The setting's value.
        listen: Listen,
        /// The operating system's error.
        error: io::Error,
    },
}

/// The bound sockets of a node.
pub struct Listeners {
    /// Serves the API.
    pub public: TcpListener,
    /// Serves metrics and health; without it `public` does.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds the addresses in the settings.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let backlog = config.api.listen_backlog;
        let public = bind("api.listen", &config.api.listen, backlog).await?;
        let admin = match &config.api.admin_listen.0 {
            Some(listen) => Some(bind("api.admin_listen", listen, backlog).await?),
            None => None,
        };
        Ok(Self { public, admin })
    }
}

async fn bind(key: &'static str, listen: &Listen, backlog: u32) -> Result<TcpListener, Error> {
    let bound = async { tollgate_http_server::bind(listen.resolve().await?, backlog) };
    bound.await.map_err(|error| Error::Bind { key, listen: listen.clone(), error })
}

/// Serves until `shutdown` resolves. Then the node is not ready at once, serves for `api.drain_seconds` more, finishes
/// the requests in flight, ships its journal, stops its worker and closes the service.
///
/// `worker` is used when `worker.in_process` is true: it runs the service's jobs until the
/// future that it receives resolves.
///
/// HTTP is served from the first moment, so that `/live` and `/ready` answer while the node waits for the database.
/// `on_ready` is called when the tables are up to date, with the first admin token if this start created it.
///
/// # Errors
/// When the tables cannot be updated. Everything is closed in that case, too.
pub async fn run<W, E>(
    service: Service,
    listeners: Listeners,
    worker: impl FnOnce(Service, WaitForCancellationFutureOwned) -> W,
    bootstrap: Option<&str>,
    on_ready: impl FnOnce(Option<TokenSecret>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    W: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let app = App::new(service.clone()).map_err(StartError::from)?;
    let (stop_http, stop_worker) = (CancellationToken::new(), CancellationToken::new());
    let serving = serve(&app, listeners, &stop_http);
    let worker = service.config().worker.in_process.then(|| {
        let work = worker(service.in_background(), stop_worker.clone().cancelled_owned());
        service.spawn_in_background(work)
    });
    let mut shutdown = std::pin::pin!(shutdown);
    let prepared = tokio::select! {
        prepared = service.prepare(bootstrap) => Some(prepared),
        () = &mut shutdown => None,
    };
    let outcome = match prepared {
        Some(Ok(first_token)) => {
            service.start();
            on_ready(first_token);
            shutdown.await;
            Ok(())
        }
        Some(Err(error)) => Err(error.into()),
        None => Ok(()),
    };
    service.drain();
    if service.is_prepared() {
        tracing::info!("stopping; not ready from now on");
        sleep(Duration::from_secs(service.config().api.drain_seconds)).await;
    }
    stop_http.cancel();
    for server in serving {
        ended("a listener", server.await);
    }
    if service.is_prepared() {
        service.ship_all(SHIP_TIMEOUT).await;
    }
    stop_worker.cancel();
    if let Some(worker) = worker {
        match worker.await {
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot report the worker's last jobs to the queue; they run again")
            }
            joined => ended("the worker", joined.map(drop)),
        }
    }
    service.close().await;
    outcome
}

fn serve(app: &App, listeners: Listeners, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let config = &app.service.config().api;
    let seconds = Duration::from_secs;
    let admin_connections = if listeners.admin.is_some() { ADMIN_CONNECTIONS } else { 0 };
    let database = &app.service.config().database;
    let pools = if database.replica_url.non_empty().is_some() { 2 } else { 1 };
    let room = room_for(config.max_connections + admin_connections, database.max_connections * pools);
    let admin_connections = admin_connections.min(room / 4);
    let limits = Limits {
        max_connections: room - admin_connections,
        max_per_address: config.max_connections_per_ip,
        max_body_bytes: json::MAX_BODY_BYTES as u64,
        header_timeout: seconds(config.header_timeout_seconds),
        idle_timeout: seconds(config.idle_timeout_seconds),
        answer_timeout: seconds(config.request_timeout_seconds) + SLOW_CLIENT,
        stop_timeout: STOP_TIMEOUT,
    };
    let spawn = |name, listener, routes, limits: Limits| {
        let proxies = app.trusted_proxies.iter().copied().map(Network::as_ip_net).collect();
        let server = Server::new(routes, limits).exempting(proxies).observed_by(app.metrics.connections(name));
        tokio::spawn(server.serve(listener, stop.clone().cancelled_owned()))
    };
    let public = spawn("public", listeners.public, routes::public(app), limits);
    let admin = listeners.admin.map(|listener| {
        let limits = Limits { max_connections: admin_connections, max_per_address: admin_connections, ..limits };
        spawn("admin", listener, routes::admin(app), limits)
    });
    std::iter::once(public).chain(admin).collect()
}

fn ended(what: &str, joined: Result<(), tokio::task::JoinError>) {
    if let Err(error) = joined {
        tracing::error!(%error, "{what} panicked");
    }
}

//! A whole node: HTTP, what runs next to it, and the order in which it all stops.

use std::{fmt::Display, io, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tollgate_domain::{Network, TokenSecret};
use tollgate_http_server::{Limits, Server};
use tollgate_service::{Config, Service, StartError, config::Listen};

use crate::{app::App, body::json, open_files::room_for, routes};

/// Requests in flight have this long after the listener is closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// What is in the journal has this long to reach the database; the rest is shipped by the next start.
const SHIP_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond a request's own bounds: time for its body to come and its answer to be read.
const SLOW_CLIENT: Duration = Duration::from_secs(30);
/// Operators' tools only.
const ADMIN_CONNECTIONS: usize = 256;

/// Why a node could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener.
    #[error("{key} = {listen}: {error}")]
    Bind {
        /// Which setting.
        key: &'static str,
        /// Its value.
        listen: Listen,
        /// What the operating system says.
        error: io::Error,
    },
}

/// Bound sockets.
pub struct Listeners {
    /// The API.
    pub public: TcpListener,
    /// Metrics and health; without it `public` serves them.
    pub admin: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the settings name.
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

/// Serves until `shutdown`; then the node is not ready at once, goes on serving for `api.drain_seconds`, finishes what is
/// in flight, ships its journal, stops its worker and closes the service.
///
/// `worker` is what `worker.in_process` asks for: runs the service's jobs until the future that it is given resolves.
///
/// HTTP is served from the first moment, so that `/live` and `/ready` answer while the database is waited for. `on_ready`
/// is called once the tables are there, with the first admin token if this start has made it.
///
/// # Errors
/// When the tables cannot be brought up to date. Everything is closed then too.
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

//! A whole node: HTTP, what runs beside it, and the order in which it all stops.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tollgate_domain::TokenSecret;
use tollgate_service::{Config, Service, StartError, config::Listen};

use crate::{
    app::App,
    connections::Connections,
    open_files::room_for,
    routes,
    server::{self, Limits},
};

/// Requests in flight have so long after the listener is closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// What is in the journal has so long to reach the database; the rest is shipped by the next start.
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

/// Takes the first address that can be listened on. The kernel keeps up to `backlog` connections that are not accepted yet,
/// or `net.core.somaxconn` if that is less.
async fn bind(key: &'static str, listen: &Listen, backlog: u32) -> Result<TcpListener, Error> {
    let failed = |error| Error::Bind { key, listen: listen.clone(), error };
    let mut outcome = Err(io::Error::other("the name has no address"));
    for address in listen.resolve().await.map_err(failed)? {
        outcome = bind_address(address, backlog);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.map_err(failed)
}

fn bind_address(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Serves until `shutdown`; then the node is not ready at once, goes on serving for `api.drain_seconds`, finishes what is
/// in flight, ships its journal, stops its worker and closes the service.
///
/// HTTP is served from the first moment, so that `/live` and `/ready` answer while the database is waited for. `on_ready`
/// is called once the tables are there, with the first admin token if this start has made it.
///
/// # Errors
/// When the tables cannot be brought up to date. Everything is closed then too.
pub async fn run(
    service: Service,
    listeners: Listeners,
    bootstrap: Option<&str>,
    on_ready: impl FnOnce(Option<TokenSecret>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let app = App::new(service.clone()).map_err(StartError::from)?;
    let (stop_http, stop_worker) = (CancellationToken::new(), CancellationToken::new());
    let serving = serve(&app, listeners, &stop_http);
    let worker = service.config().worker.in_process.then(|| {
        let work = tollgate_worker::run(service.in_background(), stop_worker.clone().cancelled_owned());
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
        tracing::info!("stopping: not ready from now on");
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
            Ok(Err(error)) => tracing::warn!(%error, "the worker's last jobs run again at the next start"),
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
        header_timeout: seconds(config.header_timeout_seconds),
        idle_timeout: seconds(config.idle_timeout_seconds),
        answer_timeout: seconds(config.request_timeout_seconds) + SLOW_CLIENT,
        stop_timeout: STOP_TIMEOUT,
    };
    let spawn = |name, listener, routes, limits: Limits| {
        let connections = Connections::new(limits, app.trusted_proxies.clone(), app.metrics.connections(name));
        tokio::spawn(server::serve(listener, routes, limits, connections, stop.clone().cancelled_owned()))
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
        tracing::error!(%error, "{what} ended in a panic");
    }
}

//! A server's life: accepts until told to stop, then what is in flight is finished.
//!
//! `axum::serve` keeps a socket that says nothing for ever. Here every connection has a phase in one atomic word, and one
//! sweeper per server closes those whose phase lasts too long; the hot path reads no clock and arms no timer for it.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::{
    acceptor::Acceptor, connections::Connections, limits::Limits, observer::ConnectionObserver, service::HttpService,
};

/// Serves `S` within its [`Limits`].
pub struct Server<S> {
    service: S,
    limits: Limits,
    exempt: Vec<IpNet>,
    observer: Box<dyn ConnectionObserver>,
}

impl<S: HttpService> Server<S> {
    /// With no network exempt, and nobody told of its connections.
    pub fn new(service: S, limits: Limits) -> Self {
        Self { service, limits, exempt: Vec::new(), observer: Box::new(()) }
    }

    /// Networks of proxies, which carry many clients' requests: [`Limits::max_per_address`] is not for them. IPv4 addresses
    /// that came in IPv6 count as IPv4.
    pub fn exempting(self, exempt: Vec<IpNet>) -> Self {
        Self { exempt, ..self }
    }

    /// Tells `observer` of every connection.
    pub fn observed_by(self, observer: impl ConnectionObserver) -> Self {
        Self { observer: Box::new(observer), ..self }
    }

    /// Serves on `listener` until `shutdown`, then closes the listener and idle connections, and waits for requests in
    /// flight, at most [`Limits::stop_timeout`].
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let Self { service, limits, exempt, observer } = self;
        let connections = Arc::new(Connections::new(limits, exempt, observer));
        let sweeper = tokio::spawn(Arc::clone(&connections).sweep());
        let permits = Arc::new(Semaphore::new(limits.max_connections));
        let mut acceptor = Acceptor::new(listener, Arc::clone(&connections), Arc::clone(&permits));
        let service = Arc::new(service);
        tokio::select! {
            () = acceptor.run(&service) => {}
            () = shutdown => {}
        }
        drop(acceptor);
        connections.drain();
        let most = u32::try_from(limits.max_connections).unwrap_or(u32::MAX);
        if timeout(limits.stop_timeout, permits.acquire_many(most)).await.is_err() {
            tracing::warn!(
                open = connections.count(),
                "requests were still in flight when the time to stop had passed"
            );
        }
        connections.close_all();
        sweeper.abort();
    }
}

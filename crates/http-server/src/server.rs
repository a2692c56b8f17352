//! A server's life: accepts until it must stop, then finishes the requests in flight.
//!
//! `axum::serve` keeps a silent connection for ever. Here every connection has a phase in one atomic word,
//! and one sweeper per server closes connections that stay in a phase too long; the hot path reads no
//! clock and arms no timer for this.

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
    /// A server without exempt networks or an observer.
    pub fn new(service: S, limits: Limits) -> Self {
        Self { service, limits, exempt: Vec::new(), observer: Box::new(()) }
    }

    /// Exempts networks of proxies, which carry many clients' requests, from [`Limits::max_per_address`]. IPv4
    /// addresses mapped into IPv6 count as IPv4.
    pub fn exempting(self, exempt: Vec<IpNet>) -> Self {
        Self { exempt, ..self }
    }

    /// Reports every connection to `observer`.
    pub fn observed_by(self, observer: impl ConnectionObserver) -> Self {
        Self { observer: Box::new(observer), ..self }
    }

    /// Serves on `listener` until `shutdown` resolves, then closes the listener and idle connections, and waits for
    /// requests in flight, at most [`Limits::stop_timeout`].
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
            tracing::warn!(open = connections.count(), "requests did not finish in time; closing their connections");
        }
        connections.close_all();
        sweeper.abort();
    }
}

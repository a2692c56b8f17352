//! The state that every handler shares.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tollgate_domain::Network;
use tollgate_service::{Service, config::HeaderStyle};

use crate::{metrics::HttpMetrics, middleware::request_id::RequestIds};

/// The service, and the API's own state. Clones are cheap.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) service: Service,
    pub(crate) ids: RequestIds,
    pub(crate) metrics: HttpMetrics,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) headers: HeaderStyle,
    pub(crate) request_timeout: Duration,
    /// One of this many successful checks is logged; 0 for none.
    pub(crate) sample_checks: u64,
    pub(crate) checks_seen: AtomicU64,
}

impl App {
    /// Registers the HTTP metrics next to the service's, so it must be called once per service.
    pub(crate) fn new(service: Service) -> Result<Self, prometheus::Error> {
        let config = service.config();
        Ok(Self(Arc::new(Inner {
            ids: RequestIds::new(service.clock().clone()),
            metrics: HttpMetrics::register(service.metrics().registry())?,
            trusted_proxies: config.api.trusted_proxies.iter().map(|network| network.0).collect(),
            headers: config.api.headers,
            request_timeout: Duration::from_secs(config.api.request_timeout_seconds),
            sample_checks: config.log.sample_checks,
            checks_seen: AtomicU64::new(0),
            service,
        })))
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

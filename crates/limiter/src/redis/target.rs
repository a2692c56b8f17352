//! The kind of Redis: one server, the master that sentinels name, or a cluster; each with or without TLS.
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult,
    TlsCertificates, TlsMode, Value,
};
use tokio::sync::Mutex;

use crate::error::Error;

/// The servers that receive calls.
#[derive(Clone)]
pub(super) enum Target {
    Server(Box<Client>),
    /// Asked for the master at every connection, because a failover changes it.
    Sentinels(Arc<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// `scheme://user:password@host:port,host:port/rest`
struct Parts<'u> {
    scheme: &'u str,
    /// The credentials and their `@`, as in the URL.
    credentials: &'u str,
    hosts: Vec<&'u str>,
    rest: &'u str,
}

impl Target {
    pub(super) fn parse(url: &str, root_certificate: Option<Vec<u8>>) -> Result<Self, Error> {
        let unusable = |error: RedisError| Error::Address { reason: error.to_string() };
        let parts = Parts::of(url).ok_or_else(|| Error::Address { reason: "it has no host".to_owned() })?;
        let certificates = root_certificate.map(|root| TlsCertificates { client_tls: None, root_cert: Some(root) });
        let target = match parts.scheme {
            "redis-cluster" | "rediss-cluster" => parts.cluster(certificates).map(Box::new).map(Self::Cluster),
            "redis-sentinel" | "rediss-sentinel" => {
                parts.sentinels(certificates).map(|client| Self::Sentinels(Arc::new(Mutex::new(client))))
            }
            _ => match certificates {
                Some(certificates) => Client::build_with_tls(url, certificates).map(Box::new).map(Self::Server),
                None => Client::open(url).map(Box::new).map(Self::Server),
            },
        };
        target.map_err(unusable)
    }

    /// Whether the keys of one call must be in one slot.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Has no timeout; the caller sets one.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        match self {
            Self::Server(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
            }
            Self::Sentinels(client) => {
                let client = client.lock().await.async_get_client().await?;
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        }
    }
}

impl Connection {
    /// Has no timeout; the caller sets one.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let reply = match self {
            Self::Server(connection) => connection.send_packed_command(command).await?,
            Self::Cluster(connection) => connection.req_packed_command(command).await?,
        };
        if let Value::ServerError(error) = reply { Err(error.into()) } else { Ok(reply) }
    }
}

impl<'u> Parts<'u> {
    fn of(url: &'u str) -> Option<Self> {
        let (scheme, after) = url.split_once("://")?;
        let (authority, rest) = after.split_once('/').unwrap_or((after, ""));
        let at = authority.rfind('@').map_or(0, |at| at + 1);
        let (credentials, hosts) = authority.split_at(at);
        let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
        (!hosts.is_empty()).then_some(Self { scheme, credentials, hosts, rest })
    }

    fn has_tls(&self) -> bool {
        self.scheme.starts_with("rediss")
    }

    /// Each host as a separate server.
    fn servers(&self, database: &str) -> RedisResult<Vec<ConnectionInfo>> {
        let scheme = if self.has_tls() { "rediss" } else { "redis" };
        let server = |host: &&str| format!("{scheme}://{}{host}/{database}", self.credentials).into_connection_info();
        self.hosts.iter().map(server).collect()
    }

    fn cluster(&self, certificates: Option<TlsCertificates>) -> RedisResult<ClusterClient> {
        // Connecting has its own timeout; the caller bounds a call. A moved slot deserves another try.
        let builder = ClusterClient::builder(self.servers("")?).retries(2).connection_timeout(Duration::from_secs(1));
        match certificates {
            Some(certificates) => builder.certs(certificates).build(),
            None => builder.build(),
        }
    }

    /// `rest` is the master's name and, after another slash, the database. Sentinels are asked without credentials.
    fn sentinels(&self, certificates: Option<TlsCertificates>) -> RedisResult<SentinelClient> {
        let (master, database) = self.rest.split_once('/').unwrap_or((self.rest, ""));
        let servers = self.servers(database)?;
        let addresses: Vec<ConnectionAddr> = servers.iter().map(|server| server.addr().clone()).collect();
        let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
        if let Some(settings) = servers.first().map(ConnectionInfo::redis_settings) {
            builder = builder.set_client_to_redis_db(settings.db());
            if let Some(user) = settings.username() {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_redis_password(password);
            }
        }
        if self.has_tls() {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.set_client_to_redis_certificates(certificates.clone());
            builder = builder.set_client_to_sentinel_certificates(certificates);
        }
        builder.build()
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Sentinels(_) => "Sentinels",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

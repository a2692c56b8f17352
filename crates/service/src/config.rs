//! Settings: `configs/default.toml` (built in), then the file in `TOLLGATE_CONFIG`, then `TOLLGATE__SECTION__KEY`.
//!
//! Every key is documented in that file. Unknown keys and values out of range stop the start with a message that names the
//! key, the value and what is allowed.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de};

const DEFAULTS: &str = include_str!("../../../configs/default.toml");

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is missing or malformed, a key is unknown, a value has the wrong type.
    #[error("settings: {0}")]
    Read(#[from] config::ConfigError),
    /// A value is out of range.
    #[error("settings: {key} = {value} is not allowed: {allowed}")]
    Range {
        /// `section.key`.
        key: &'static str,
        /// As it was given.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $(#[doc = concat!("See `", stringify!($field), "` in `configs/default.toml`.")] pub $field: $type),+ }
    };
}

section! {
    /// All settings.
    Config {
        api: Api, database: Database, limiter: Limiter, queue: Queue, journal: Journal, cache: Cache, worker: Worker,
        retention: Retention, privacy: Privacy, log: Log,
    }
}
section! {
    /// The HTTP service.
    Api {
        listen: SocketAddr, admin_listen: OptionalAddr, headers: HeaderStyle, cors_origins: Vec<String>,
        trusted_proxies: Vec<Network>, max_connections: usize, max_connections_per_ip: usize, listen_backlog: u32,
        header_timeout_seconds: u64, idle_timeout_seconds: u64,
        request_timeout_seconds: u64, drain_seconds: u64,
    }
}
section! {
    /// Where durable state lives.
    Database { url: Url, replica_url: Url, max_connections: u32, acquire_timeout_ms: u64 }
}
section! {
    /// Where counters live.
    Limiter { url: Url, hash_key: HashKey, call_budget_ms: u64, max_subjects: usize, snapshot: PathBuf, snapshot_seconds: u64 }
}
section! {
    /// What carries jobs.
    Queue { url: Url }
}
section! {
    /// What was decided and not yet stored.
    Journal {
        dir: PathBuf, sync: SyncMode, sync_interval_ms: u64, segment_mib: u64, retention_hours: u64, retention_mib: u64, ship_interval_ms: u64,
        max_unshipped_seconds: u64,
    }
}
section! {
    /// Known and unknown keys held in memory.
    Cache {
        max_keys: usize, max_mib: usize, refresh_seconds: u64, stale_seconds: u64, max_unknown: usize, unknown_seconds: u64, poll_ms: u64,
    }
}
section! {
    /// Who runs the jobs.
    Worker {
        in_process: bool, listen: OptionalAddr, critical_concurrency: usize, default_concurrency: usize, low_concurrency: usize,
    }
}
section! {
    /// How long history is kept.
    Retention { usage_minutes_days: u32, violations_days: u32, usage_events_days: u32, secrets_days: u32 }
}
section! {
    /// What is kept of people.
    Privacy { full_ip: bool }
}
section! {
    /// What is written to standard error.
    Log { format: LogFormat, level: String, sample_checks: u64 }
}

/// Which rate limit headers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderStyle {
    /// `RateLimit` and `RateLimit-Policy`.
    Standard,
    /// `X-RateLimit-*`.
    Legacy,
    /// All of them.
    Both,
    /// None.
    Off,
}

impl HeaderStyle {
    /// `RateLimit`, `RateLimit-Policy`.
    pub fn standard(self) -> bool {
        matches!(self, Self::Standard | Self::Both)
    }

    /// `X-RateLimit-*`.
    pub fn legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::Both)
    }
}

/// When the journal is forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// When the kernel likes.
    None,
    /// Every `sync_interval_ms`.
    Interval,
    /// Before the answer.
    Group,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// An address that may hold a password: its `Debug` shows the scheme only.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Url(String);

impl Url {
    /// The address, password and all.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// None when empty.
    pub fn non_empty(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }

    /// What precedes the first colon.
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:…", self.scheme())
    }
}

impl From<&str> for Url {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The secret of the counters' keyed hash.
#[derive(Clone)]
pub struct HashKey(pub [u8; 16]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl<'de> Deserialize<'de> for HashKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = valid.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        value.map(|v| Self(v.to_be_bytes())).ok_or_else(|| de::Error::custom("hash_key must be 32 hexadecimal digits"))
    }
}

/// A listener's address, or none when the text is empty.
#[derive(Clone, Copy, Debug)]
pub struct OptionalAddr(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for OptionalAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|addr| Self(Some(addr))).map_err(|_| {
            de::Error::custom(format!("{text:?} is not an address and port such as 127.0.0.1:9090, nor empty"))
        })
    }
}

/// A network in CIDR notation, or one address.
#[derive(Clone, Copy, Debug)]
pub struct Network(pub tollgate_domain::Network);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| de::Error::custom(format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")))
    }
}

impl Config {
    /// Reads the defaults, the file that `TOLLGATE_CONFIG` names and the environment.
    pub fn load() -> Result<Self, ConfigError> {
        let file = std::env::var("TOLLGATE_CONFIG").ok().filter(|path| !path.is_empty());
        Self::read(file.as_deref(), None)
    }

    /// The defaults, changed by `overrides` (`("api.listen", "127.0.0.1:0")`): for tests and tools.
    pub fn with(overrides: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let as_env = overrides
            .iter()
            .map(|(key, value)| (format!("TOLLGATE__{}", key.replace('.', "__").to_uppercase()), (*value).to_owned()))
            .collect();
        Self::read(None, Some(as_env))
    }

    fn read(
        file: Option<&str>,
        environment: Option<std::collections::HashMap<String, String>>,
    ) -> Result<Self, ConfigError> {
        let lists = ["api.cors_origins", "api.trusted_proxies"];
        let mut from_env = config::Environment::with_prefix("TOLLGATE")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .source(environment);
        for key in lists {
            from_env = from_env.with_list_parse_key(key);
        }
        let mut sources =
            config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(path) = file {
            sources = sources.add_source(config::File::new(path, config::FileFormat::Toml));
        }
        let settings: Self = sources.add_source(from_env).build()?.try_deserialize()?;
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let scheme = |key, url: &Url, allowed: &[&str], text| {
            let known = allowed.contains(&url.scheme());
            known.then_some(()).ok_or_else(|| ConfigError::Range { key, value: format!("{url:?}"), allowed: text })
        };
        scheme(
            "database.url",
            &self.database.url,
            &["sqlite", "postgres", "postgresql"],
            "sqlite://… or postgres://…",
        )?;
        let limiters = ["memory", "redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel"];
        scheme("limiter.url", &self.limiter.url, &limiters, "memory:, redis://…, rediss://… or redis-cluster://…")?;
        scheme("queue.url", &self.queue.url, &["memory", "redis", "rediss"], "memory:, redis://… or rediss://…")?;
        if self.database.replica_url.non_empty().is_some() {
            scheme(
                "database.replica_url",
                &self.database.replica_url,
                &["postgres", "postgresql"],
                "postgres://… or empty",
            )?;
        }
        range("api.max_connections", self.api.max_connections, 1, 1_000_000, "1 to 1000000")?;
        range("api.max_connections_per_ip", self.api.max_connections_per_ip, 1, 1_000_000, "1 to 1000000")?;
        range("api.listen_backlog", self.api.listen_backlog, 1, 65_535, "1 to 65535")?;
        range("api.header_timeout_seconds", self.api.header_timeout_seconds, 1, 3_600, "1 to 3600")?;
        range("api.idle_timeout_seconds", self.api.idle_timeout_seconds, 1, 3_600, "1 to 3600")?;
        range("api.request_timeout_seconds", self.api.request_timeout_seconds, 1, 300, "1 to 300")?;
        range("api.drain_seconds", self.api.drain_seconds, 0, 300, "0 to 300")?;
        range("database.max_connections", self.database.max_connections, 1, 1_000, "1 to 1000")?;
        range("database.acquire_timeout_ms", self.database.acquire_timeout_ms, 10, 60_000, "10 to 60000")?;
        range("limiter.call_budget_ms", self.limiter.call_budget_ms, 1, 1_000, "1 to 1000")?;
        range("limiter.max_subjects", self.limiter.max_subjects, 1_000, 100_000_000, "1000 to 100000000")?;
        range("limiter.snapshot_seconds", self.limiter.snapshot_seconds, 1, 3_600, "1 to 3600")?;
        range("journal.sync_interval_ms", self.journal.sync_interval_ms, 10, 60_000, "10 to 60000")?;
        range("journal.segment_mib", self.journal.segment_mib, 1, 4_096, "1 to 4096")?;
        range("journal.retention_hours", self.journal.retention_hours, 0, 8_760, "0 to 8760")?;
        range("journal.retention_mib", self.journal.retention_mib, 0, 10_000_000, "0 to 10000000")?;
        range("journal.ship_interval_ms", self.journal.ship_interval_ms, 10, 10_000, "10 to 10000")?;
        range("journal.max_unshipped_seconds", self.journal.max_unshipped_seconds, 2, 3_600, "2 to 3600")?;
        range("cache.max_keys", self.cache.max_keys, 100, 10_000_000, "100 to 10000000")?;
        range("cache.max_mib", self.cache.max_mib, 1, 1_000_000, "1 to 1000000")?;
        range("cache.refresh_seconds", self.cache.refresh_seconds, 1, 3_600, "1 to 3600")?;
        range("cache.stale_seconds", self.cache.stale_seconds, 1, 86_400, "1 to 86400")?;
        range("cache.max_unknown", self.cache.max_unknown, 0, 10_000_000, "0 to 10000000")?;
        range("cache.unknown_seconds", self.cache.unknown_seconds, 1, 3_600, "1 to 3600")?;
        range("cache.poll_ms", self.cache.poll_ms, 50, 1_000, "50 to 1000")?;
        range("worker.critical_concurrency", self.worker.critical_concurrency, 1, 1_000, "1 to 1000")?;
        range("worker.default_concurrency", self.worker.default_concurrency, 1, 1_000, "1 to 1000")?;
        range("worker.low_concurrency", self.worker.low_concurrency, 1, 1_000, "1 to 1000")?;
        range("retention.usage_minutes_days", self.retention.usage_minutes_days, 2, 3_660, "2 to 3660")?;
        range("retention.violations_days", self.retention.violations_days, 1, 3_660, "1 to 3660")?;
        range("retention.usage_events_days", self.retention.usage_events_days, 1, 3_660, "1 to 3660")?;
        range("retention.secrets_days", self.retention.secrets_days, 1, 3_660, "1 to 3660")
    }

    /// `queue.url = "memory:"` reaches only a worker in the same process.
    pub fn validate_for_api(&self) -> Result<(), ConfigError> {
        if self.queue.url.scheme() == "memory" && !self.worker.in_process {
            return Err(ConfigError::Range {
                key: "queue.url",
                value: "memory:".into(),
                allowed: "a worker of its own process needs redis://…; or set worker.in_process = true",
            });
        }
        Ok(())
    }

    /// A worker of its own process shares the queue and the database with the API.
    pub fn validate_for_worker(&self) -> Result<(), ConfigError> {
        if self.queue.url.scheme() == "memory" {
            return Err(ConfigError::Range {
                key: "queue.url",
                value: "memory:".into(),
                allowed: "tollgate-worker needs the redis://… queue that tollgate-api pushes to",
            });
        }
        Ok(())
    }
}

impl Journal {
    /// Pause between two looks of the shipper.
    pub fn ship_interval(&self) -> Duration {
        Duration::from_millis(self.ship_interval_ms)
    }
}

fn range<T: PartialOrd + fmt::Display>(
    key: &'static str,
    value: T,
    least: T,
    most: T,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if value < least || value > most {
        return Err(ConfigError::Range { key, value: value.to_string(), allowed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_complete_and_in_range() {
        let config = Config::with(&[]).unwrap();
        assert_eq!(config.api.listen.to_string(), "127.0.0.1:8080");
        config.validate_for_api().unwrap();
    }

    #[test]
    fn the_shipped_files_hold_known_keys_only() {
        for file in ["development", "production"] {
            let path = format!("{}/../../configs/{file}.toml", env!("CARGO_MANIFEST_DIR"));
            Config::read(Some(&path), Some(Default::default())).unwrap();
        }
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_value_and_what_is_allowed() {
        for (key, value, words) in [
            ("api.max_connections", "0", "api.max_connections = 0 is not allowed: 1 to 1000000"),
            ("database.url", "mysql://x:secret@y", "sqlite://… or postgres://…"),
            ("api.listne", "x", "listne"),
            ("journal.sync", "sometimes", "sometimes"),
            ("api.listen", "nowhere", "api.listen"),
        ] {
            let message = Config::with(&[(key, value)]).unwrap_err().to_string();
            assert!(message.contains(words), "{key}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn lists_come_from_the_environment_too() {
        let config = Config::with(&[("api.trusted_proxies", "10.0.0.0/8,::1")]).unwrap();
        assert_eq!(config.api.trusted_proxies.len(), 2);
    }
}

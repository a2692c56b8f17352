//! Which values are allowed, beyond what their types say.

use std::{fmt, time::Duration};

use super::{Config, ConfigError, Journal, Url};

impl Config {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let scheme = |key, url: &Url, allowed: &[&str], text| {
            let known = allowed.contains(&url.scheme());
            known.then_some(()).ok_or_else(|| ConfigError::not_allowed(key, format!("{url:?}"), text))
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
            let allowed = "a worker of its own process needs redis://…; or set worker.in_process = true";
            return Err(ConfigError::not_allowed("queue.url", "memory:", allowed));
        }
        Ok(())
    }

    /// A worker of its own process shares the queue and the database with the API.
    pub fn validate_for_worker(&self) -> Result<(), ConfigError> {
        if self.queue.url.scheme() == "memory" {
            let allowed = "tollgate-worker needs the redis://… queue that tollgate-api pushes to";
            return Err(ConfigError::not_allowed("queue.url", "memory:", allowed));
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
        return Err(ConfigError::not_allowed(key, value.to_string(), allowed));
    }
    Ok(())
}

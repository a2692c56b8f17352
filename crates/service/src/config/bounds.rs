//! The allowed values of settings, beyond what their types say.

use std::{fmt, ops::RangeInclusive, time::Duration};

use super::{Config, ConfigError, Journal, Url};

/// Names each setting once, so that a message names the setting that was read.
macro_rules! ranges {
    ($config:ident: $($section:ident . $key:ident: $range:expr,)+) => {
        $(range(concat!(stringify!($section), ".", stringify!($key)), &$config.$section.$key, &$range)?;)+
    };
}

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
        ranges! {
            self:
            api.max_connections: 1..=1_000_000,
            api.max_connections_per_ip: 1..=1_000_000,
            api.listen_backlog: 1..=65_535,
            api.header_timeout_seconds: 1..=3_600,
            api.idle_timeout_seconds: 1..=3_600,
            api.request_timeout_seconds: 1..=300,
            api.drain_seconds: 0..=300,
            database.max_connections: 1..=1_000,
            database.acquire_timeout_ms: 10..=60_000,
            limiter.call_budget_ms: 1..=1_000,
            limiter.max_subjects: 1_000..=100_000_000,
            limiter.snapshot_seconds: 1..=3_600,
            journal.sync_interval_ms: 10..=60_000,
            journal.segment_mib: 1..=4_096,
            journal.retention_hours: 0..=8_760,
            journal.retention_mib: 0..=10_000_000,
            journal.ship_interval_ms: 10..=10_000,
            journal.max_unshipped_seconds: 2..=3_600,
            cache.max_keys: 100..=10_000_000,
            cache.max_mib: 1..=1_000_000,
            cache.refresh_seconds: 1..=3_600,
            cache.stale_seconds: 1..=86_400,
            cache.max_unknown: 0..=10_000_000,
            cache.unknown_seconds: 1..=3_600,
            cache.poll_ms: 50..=1_000,
            worker.critical_concurrency: 1..=1_000,
            worker.default_concurrency: 1..=1_000,
            worker.low_concurrency: 1..=1_000,
            retention.usage_minutes_days: 2..=3_660,
            retention.violations_days: 1..=3_660,
            retention.usage_events_days: 36..=3_660,
            retention.secrets_days: 1..=3_660,
            billing.grace_seconds: 0..=86_400,
            billing.due_days: 0..=365,
        }
        Ok(())
    }

    /// Settings that only an API needs to be consistent: `queue.url = "memory:"` reaches only
    /// a worker in the same process.
    pub fn validate_for_api(&self) -> Result<(), ConfigError> {
        if self.queue.url.scheme() == "memory" && !self.worker.in_process {
            let allowed = "a worker of its own process needs redis://…; or set worker.in_process = true";
            return Err(ConfigError::not_allowed("queue.url", "memory:", allowed));
        }
        Ok(())
    }

    /// A separate worker process must share the queue and the database with the API.
    pub fn validate_for_worker(&self) -> Result<(), ConfigError> {
        if self.queue.url.scheme() == "memory" {
            let allowed = "tollgate-worker needs the redis://… queue that tollgate-api pushes to";
            return Err(ConfigError::not_allowed("queue.url", "memory:", allowed));
        }
        Ok(())
    }
}

impl Journal {
    /// The shipper's pause between two steps.
    pub fn ship_interval(&self) -> Duration {
        Duration::from_millis(self.ship_interval_ms)
    }
}

fn range<T: PartialOrd + fmt::Display>(key: &str, value: &T, allowed: &RangeInclusive<T>) -> Result<(), ConfigError> {
    if allowed.contains(value) {
        return Ok(());
    }
    let allowed = format!("{} to {}", allowed.start(), allowed.end());
    Err(ConfigError::not_allowed(key, value.to_string(), allowed))
}

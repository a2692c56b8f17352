//! Opens what a URL or a setting names.

use std::time::Duration;

use tollgate_domain::{BootId, Clock};
use tollgate_jobs::Queue;
use tollgate_journal::{Durability, Journal};
use tollgate_limiter::{Limiter, TimeSource, Timestamp};
use tollgate_repository::Repository;

use crate::{Config, StartError, check::cache::Bounds, config::SyncMode, ops::low_priority::LowPriority};

/// Database connections for an API node's background work, in addition to `database.max_connections`: one each for the
/// shipper, the fold and a few concurrent jobs.
const BACKGROUND_CONNECTIONS: u32 = 4;

/// Stops the start when the queue may drop jobs when its memory is full. A queue that cannot be asked now is accepted.
pub(crate) async fn refuse_eviction(queue: &Queue) -> Result<(), StartError> {
    match queue.check_eviction().await {
        Err(error @ tollgate_jobs::Error::Evicts { .. }) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "cannot read the queue's eviction policy; starting without that check");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

pub(crate) async fn repository(config: &Config) -> Result<Repository, StartError> {
    let options = tollgate_repository::Options {
        max_connections: config.database.max_connections,
        acquire_timeout: Duration::from_millis(config.database.acquire_timeout_ms),
        replica_url: config.database.replica_url.non_empty().map(str::to_owned),
        pooler: config.database.pooler,
    };
    Ok(Repository::connect(config.database.url.expose(), options).await?)
}

/// A thread of lower priority, with database connections that are opened on it.
pub(crate) async fn background(repository: &Repository) -> Result<(LowPriority, Repository), StartError> {
    let low_priority = LowPriority::start().map_err(StartError::Thread)?;
    let repository = repository.clone();
    let opened =
        low_priority.spawn(async move { repository.with_connections_of_its_own(BACKGROUND_CONNECTIONS).await });
    let repository = opened.await.map_err(|error| StartError::Thread(std::io::Error::other(error)))??;
    Ok((low_priority, repository))
}

pub(crate) async fn limiter(config: &Config, clock: &Clock) -> Result<Limiter, StartError> {
    let options = tollgate_limiter::Options {
        time: match clock {
            Clock::System => TimeSource::Server,
            Clock::Manual(_) => TimeSource::Caller,
        },
        call_budget: Duration::from_millis(config.limiter.call_budget_ms),
        max_subjects: config.limiter.max_subjects,
        ..tollgate_limiter::Options::default()
    };
    let limiter = Limiter::connect(config.limiter.url.expose(), options).await?;
    crate::ops::snapshot::restore_counters(&limiter, config, Timestamp::from_micros(clock.micros()));
    Ok(limiter)
}

pub(crate) fn journal(config: &Config, clock: &Clock) -> Result<Journal, StartError> {
    let options = tollgate_journal::Options {
        segment_bytes: config.journal.segment_mib << 20,
        sync: match config.journal.sync {
            SyncMode::None => Durability::None,
            SyncMode::Interval => Durability::Interval(Duration::from_millis(config.journal.sync_interval_ms)),
            SyncMode::Group => Durability::Group,
        },
        ..tollgate_journal::Options::default()
    };
    let boot = BootId(clock.new_id());
    Ok(Journal::open(&config.journal.dir, tollgate_journal::BootId::from_bytes(boot.0.into_bytes()), options)?)
}

pub(crate) fn bounds(config: &Config) -> Bounds {
    let micros = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Bounds {
        max_keys: config.cache.max_keys,
        max_bytes: config.cache.max_mib << 20,
        max_unknown: config.cache.max_unknown,
        refresh_after: micros(config.cache.refresh_seconds),
        stale_after: micros(config.cache.stale_seconds),
        unknown_for: micros(config.cache.unknown_seconds),
    }
}

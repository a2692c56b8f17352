//! The memory limiter's counters, saved across restarts.

use std::{
    io::{BufReader, BufWriter, Write},
    path::Path,
};

use tollgate_limiter::{Limiter, Timestamp};

use crate::{Config, Service};

pub(super) async fn keep_counters_every(service: Service, mut ticks: tokio::time::Interval) {
    // The first tick comes at once, when there is nothing new to save.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        keep_counters(&service).await;
    }
}

/// Writes the memory limiter's counters to a new file and renames it over the old snapshot, so
/// that a kill leaves one whole.
pub(crate) async fn keep_counters(service: &Service) {
    let path = service.config().limiter.snapshot.clone();
    if !matches!(service.limiter(), Limiter::Memory(_)) || path.as_os_str().is_empty() {
        return;
    }
    let limiter = service.limiter().clone();
    match tokio::task::spawn_blocking(move || write_snapshot(&limiter, &path)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot write the counters' snapshot; trying again later"),
        Err(error) => tracing::error!(%error, "the counters' snapshot was interrupted"),
    }
}

fn write_snapshot(limiter: &Limiter, path: &Path) -> Result<(), tollgate_limiter::Error> {
    let beside = path.with_extension("new");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(std::fs::File::create(&beside)?);
    limiter.snapshot(&mut file)?;
    file.flush()?;
    Ok(std::fs::rename(&beside, path)?)
}

/// Restores the counters of the last snapshot. A missing one is normal; a damaged one is logged.
pub(crate) fn restore_counters(limiter: &Limiter, config: &Config, now: Timestamp) {
    let path: &Path = &config.limiter.snapshot;
    if !matches!(limiter, Limiter::Memory(_)) || path.as_os_str().is_empty() || !path.exists() {
        return;
    }
    let restored = std::fs::File::open(path)
        .map_err(tollgate_limiter::Error::from)
        .and_then(|file| limiter.restore(&mut BufReader::new(file), now));
    match restored {
        Ok(subjects) => tracing::info!(subjects, "restored the counters"),
        Err(error) => tracing::warn!(%error, "cannot restore the counters; they start empty"),
    }
}

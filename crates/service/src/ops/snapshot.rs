//! The memory limiter's counters, kept over a restart.

use std::{
    io::{BufReader, BufWriter, Write},
    path::Path,
};

use tollgate_limiter::{Limiter, Timestamp};

use crate::{Config, Service};

pub(super) async fn keep_counters_every(service: Service, mut ticks: tokio::time::Interval) {
    // The first tick comes at once, when there is nothing new to keep.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        keep_counters(&service).await;
    }
}

/// Writes the memory limiter's counters next to the old snapshot and puts it in its place, so that a kill leaves one whole.
pub(crate) async fn keep_counters(service: &Service) {
    let path = service.config().limiter.snapshot.clone();
    if !matches!(service.limiter(), Limiter::Memory(_)) || path.as_os_str().is_empty() {
        return;
    }
    let limiter = service.limiter().clone();
    match tokio::task::spawn_blocking(move || write_snapshot(&limiter, &path)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the counters' snapshot could not be written"),
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

/// Takes the last snapshot's counters over; a missing one is no loss, a damaged one is said.
pub(crate) fn restore_counters(limiter: &Limiter, config: &Config, now: Timestamp) {
    let path: &Path = &config.limiter.snapshot;
    if !matches!(limiter, Limiter::Memory(_)) || path.as_os_str().is_empty() || !path.exists() {
        return;
    }
    let restored = std::fs::File::open(path)
        .map_err(tollgate_limiter::Error::from)
        .and_then(|file| limiter.restore(&mut BufReader::new(file), now));
    match restored {
        Ok(subjects) => tracing::info!(subjects, "counters restored"),
        Err(error) => tracing::warn!(%error, "counters start empty"),
    }
}

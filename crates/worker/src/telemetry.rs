//! Log lines, for both binaries: to standard error, through a writer that never makes a request wait.

use tollgate_service::config::{Log, LogFormat};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// `log.level` is neither a level nor a list of directives.
#[derive(Debug, thiserror::Error)]
#[error(
    "settings: log.level = {level:?} is not allowed: a level such as info, or directives such as info,tollgate_api=debug"
)]
pub struct BadLevel {
    level: String,
}

/// Sends log lines to standard error from now on. Those still queued are written when the guard is dropped.
///
/// # Errors
/// When `log.level` cannot be read.
pub fn init(log: &Log) -> Result<WorkerGuard, BadLevel> {
    let filter = EnvFilter::try_new(&log.level).map_err(|_| BadLevel { level: log.level.clone() })?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let set = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        LogFormat::Pretty => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    if set.is_err() {
        tracing::debug!("a process that has a log already keeps it");
    }
    Ok(guard)
}

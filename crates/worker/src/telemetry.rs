//! Log lines, for both binaries: to standard error, through a writer that never makes a request wait.

use std::{
    io::{self, BufWriter, Write},
    thread,
    time::Duration,
};

use tollgate_service::config::{Log, LogFormat};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::json_lines::JsonLines;

/// Lines gather so long between two writes, or until there are so many bytes of them. The first one after a rest is written
/// at once.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_BYTES: usize = 64 * 1024;
/// Lines that may wait to be written; further ones are dropped. A quarter of a second at a line per check of a whole core.
const MAX_WAITING: usize = 32_768;

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
    let gathered = Gathered(BufWriter::with_capacity(GATHER_BYTES, io::stderr()));
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING).finish(gathered);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let set = match log.format {
        LogFormat::Json => lines.event_format(JsonLines).try_init(),
        LogFormat::Pretty => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
    };
    if set.is_err() {
        tracing::debug!("a process that has a log already keeps it");
    }
    Ok(guard)
}

/// Writes what has gathered in one call, then pauses: for one line at a time, to wake the thread that writes would cost as
/// much as the line.
struct Gathered<W: Write>(BufWriter<W>);

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// The appender calls it when no line waits.
    fn flush(&mut self) -> io::Result<()> {
        let gathered = !self.0.buffer().is_empty();
        let written = self.0.flush();
        if gathered {
            thread::sleep(GATHER);
        }
        written
    }
}

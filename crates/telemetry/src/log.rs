//! Log lines: to standard error, through a writer that never makes a request wait. As JSON, whatever a process writes is one
//! object per line: also how it starts, panics and ends.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, BufWriter, Write},
    panic::PanicHookInfo,
    process::ExitCode,
    thread,
    time::Duration,
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::EnvFilter;

use crate::json_lines::{self, JsonFields, JsonLines};

/// Lines still queued are written when it is dropped.
pub use tracing_appender::non_blocking::WorkerGuard as LogGuard;

/// Lines gather this long between two writes, or until there are this many bytes of them. The first one after a rest is written
/// at once.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_BYTES: usize = 64 * 1024;
/// Lines that may wait to be written; further ones are dropped. A quarter of a second at a line per check of a whole core.
const MAX_WAITING: usize = 32_768;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person: text, with colours where it is a terminal that reads.
    Pretty,
    /// For a machine: an object per line.
    Json,
}

/// Neither a level nor a list of directives.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not allowed: a level such as info, or directives such as info,tollgate_api=debug")]
pub struct BadLevel(String);

/// Sends log lines to standard error from now on: those of `level`, which is a level's name or directives as
/// [`EnvFilter`] has them. A panic is a line, too.
///
/// # Errors
/// When `level` cannot be read.
pub fn init(format: Format, level: &str) -> Result<LogGuard, BadLevel> {
    let bad = || BadLevel(level.to_owned());
    // The filter takes a word that is no level for the name of a module, of which it shows all, and of others nothing.
    let is_fine = |directive: &str| directive.contains(['=', '[']) || directive.trim().parse::<LevelFilter>().is_ok();
    let filter = level.split(',').all(is_fine).then(|| EnvFilter::try_new(level).ok()).flatten();
    let filter = filter.ok_or_else(bad)?;
    let gathered = Gathered(BufWriter::with_capacity(GATHER_BYTES, io::stderr()));
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING).finish(gathered);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let set = match format {
        Format::Json => lines.event_format(JsonLines).fmt_fields(JsonFields).try_init(),
        Format::Pretty => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
    };
    match set {
        Ok(()) => std::panic::set_hook(Box::new(log_panic)),
        Err(_) => tracing::debug!("a process that has a log already keeps it"),
    }
    Ok(guard)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no text");
    let location = panic.location().map(tracing::field::display);
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
    tracing::error!(thread = thread.name(), location, backtrace, "panic: {text}");
}

/// Tells a person something on standard output: the text, or with JSON a line with it as its message.
///
/// # Errors
/// When `out` cannot be written.
pub fn tell(out: &mut impl Write, format: Format, text: &str) -> io::Result<()> {
    match format {
        Format::Pretty => writeln!(out, "{text}"),
        Format::Json => out.write_all(json_lines::line(Level::INFO, text).as_bytes()),
    }
}

/// How `program` ends. Why it failed is written to standard error.
pub fn exit_code(program: &str, format: Format, done: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    let text = match format {
        Format::Pretty => format!("{program}: {error}\n"),
        Format::Json => json_lines::line(Level::ERROR, &format!("{program}: {error}")),
    };
    // When standard error is gone there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
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

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, set_hook, take_hook};

    use super::*;
    use crate::json_lines::tests::Lines;

    #[test]
    fn a_panic_is_a_line_of_the_log() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().event_format(JsonLines).with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let before = take_hook();
            set_hook(Box::new(log_panic));
            let _ = catch_unwind(|| panic!("so \"it\"\nwent"));
            set_hook(before);
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"ERROR".into(), &"panic: so \"it\"\nwent".into()),
            "{written}"
        );
        assert!(line["location"].as_str().unwrap().contains("log.rs:"), "{written}");
    }
}

//! Log lines go to standard error, through a writer that never makes a request wait. With JSON, everything that a
//! process writes is one object per line, including its start, its panics and its end.

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

/// Writes the queued lines when it is dropped.
pub use tracing_appender::non_blocking::WorkerGuard as LogGuard;

/// Lines gather for this long, or up to this many bytes, between two writes. The first line
/// after a pause is written at once.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_BYTES: usize = 64 * 1024;
/// Lines that may wait to be written; further ones are dropped. One core that logs every check
/// fills it in a quarter of a second.
const MAX_WAITING: usize = 32_768;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person: text, with colours on a terminal.
    Pretty,
    /// For a machine: one object per line.
    Json,
}

/// The text is neither a level nor a list of directives.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not allowed: a level such as info, or directives such as info,tollgate_api=debug")]
pub struct BadLevel(String);

/// Sends log lines to standard error from now on: those of `level`, which is a level's name or [`EnvFilter`]
/// directives. A panic is logged, too.
///
/// # Errors
/// When `level` cannot be parsed.
pub fn init(format: Format, level: &str) -> Result<LogGuard, BadLevel> {
    let bad = || BadLevel(level.to_owned());
    // `EnvFilter` reads a word that is no level as a module's name, and would then show all of
    // that module and nothing else.
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
        Err(_) => tracing::debug!("this process already has a log; it keeps that one"),
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

/// Writes a message for a person to standard output: the text itself, or a JSON line that contains it.
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
    // When standard error is gone, nobody can read this.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}

/// Writes the gathered lines in one call, then pauses: waking the writing thread for every line would
/// cost as much as the line itself.
struct Gathered<W: Write>(BufWriter<W>);

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Called by the appender when no line waits.
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

//! What every process sets up: its log lines, its messages to a person, and the signals that stop it.

mod json_lines;
mod log;
mod signals;

pub use log::{BadLevel, Format, LogGuard, exit_code, init, tell};
pub use signals::shutdown;

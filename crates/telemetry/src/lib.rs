//! What a process starts with: where its log lines go, what it tells a person, and how it hears that it should stop.

mod json_lines;
mod log;
mod signals;

pub use log::{BadLevel, Format, LogGuard, exit_code, init, tell};
pub use signals::shutdown;

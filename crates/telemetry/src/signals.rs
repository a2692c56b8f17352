//! The signals that stop a process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first SIGTERM or SIGINT from now on, including one that arrives before it is
/// awaited. Call it within a runtime.
///
/// # Errors
/// When the operating system refuses the handler.
pub fn shutdown() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
    })
}

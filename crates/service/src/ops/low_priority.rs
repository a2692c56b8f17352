//! A thread of lower priority with its own runtime, for work that must not delay checks: the journal's
//! reader, jobs, and the database connections that these use. With a free core it runs as fast as any thread;
//! on a busy core checks run first.

use std::{future::Future, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// Of Linux' 20 steps below normal. With ten of them the thread gets about a tenth of a core
/// that other threads keep busy.
const NICE: i32 = 10;

/// A handle to the thread. Dropping the last clone of its service ends the thread.
pub(crate) struct LowPriority {
    handle: Handle,
    /// Dropped to end the thread.
    _alive: oneshot::Sender<()>,
}

impl LowPriority {
    /// Starts the thread. Threads that are started from it, such as SQLite's, have its priority.
    ///
    /// # Errors
    /// When the operating system refuses the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("tollgate-background".into()).spawn(move || {
            // Linux has a priority per thread. Elsewhere the process's priority stays unchanged.
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::debug!(%error, "cannot lower the priority of background work; it keeps the normal one");
            }
            // Resolves when the sender is dropped.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _alive: alive })
    }

    pub(crate) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(task)
    }
}

//! A thread of lower priority with a runtime of its own, for what must not make checks wait: the journal's reader, jobs, and
//! the connections to the database that these use. Where there is a core to spare it runs as fast as anything else; on a
//! busy one a check goes first.

use std::{future::Future, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// Of Linux' 20 steps below the ordinary. Ten of them leave about a tenth of a core that others want all of.
const NICE: i32 = 10;

/// Where background work runs. Dropping the last clone of its service ends the thread.
pub(crate) struct LowPriority {
    handle: Handle,
    /// Dropped to end the thread.
    _alive: oneshot::Sender<()>,
}

impl LowPriority {
    /// Starts the thread. Threads that are started from it, such as SQLite's, have its priority.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("tollgate-background".into()).spawn(move || {
            // Linux keeps a priority for each thread; elsewhere it is the process's, which stays as it is.
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::debug!(%error, "background work keeps its priority");
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

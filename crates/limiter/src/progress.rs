//! The result of work that may have to wait.

/// Either finished at once, or the rest to wait for. For callers that want to avoid a future: most checks need none,
/// and moving one costs as much as the decision.
#[derive(Debug)]
#[must_use]
pub enum Progress<T, W> {
    /// Finished.
    Done(T),
    /// Unfinished; this is the rest.
    Waiting(W),
}

impl<T, W: Future<Output = T>> Progress<T, W> {
    /// Waits for the rest, if there is one, and returns the result.
    pub async fn wait(self) -> T {
        match self {
            Self::Done(done) => done,
            Self::Waiting(rest) => rest.await,
        }
    }
}

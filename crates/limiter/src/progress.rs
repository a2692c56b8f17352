//! How far something comes without waiting.

/// What is done at once, or what is left to wait for. For callers to whom a future is a cost: most checks need none, and
/// moving one about costs as much as the decision.
#[derive(Debug)]
#[must_use]
pub enum Progress<T, W> {
    /// To its end.
    Done(T),
    /// So far; this is the rest.
    Waiting(W),
}

impl<T, W: Future<Output = T>> Progress<T, W> {
    /// The end, waited for if need be.
    pub async fn wait(self) -> T {
        match self {
            Self::Done(done) => done,
            Self::Waiting(rest) => rest.await,
        }
    }
}

//! What an `Idempotency-Key` comes to, and the answer that a repeat is given.

/// An answer to be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// HTTP status.
    pub status: i32,
    /// Of the body.
    pub content_type: Option<String>,
    /// Names and values worth repeating.
    pub headers: Vec<(String, String)>,
    /// As sent.
    pub body: Vec<u8>,
}

/// What to do with a request that carries a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It is the first: carry it out, then finish or forget it.
    Started,
    /// The first one still runs.
    InProgress,
    /// The key was used for another request.
    Mismatch,
    /// Give this answer again.
    Replay(StoredResponse),
}

//! The result of an `Idempotency-Key`, and the stored answer for a repeat.

/// A stored answer for repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The HTTP status.
    pub status: i32,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// Names and values of the headers to repeat.
    pub headers: Vec<(String, String)>,
    /// The body, as stored by the API (sealed).
    pub body: Vec<u8>,
}

/// What to do with a request that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// This request is the first: carry it out, then finish or forget it.
    Started,
    /// The first request is still running.
    InProgress,
    /// The key was used for a different request.
    Mismatch,
    /// Give this answer again.
    Replay(StoredResponse),
}

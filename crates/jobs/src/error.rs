//! What can go wrong with the queue.

/// Why the queue could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address names no kind of queue. Only its scheme is shown, because the rest may hold a password.
    #[error("`{scheme}` is no kind of queue: use memory:, redis://host:port/database or rediss://host:port/database")]
    UnknownScheme {
        /// The text before the first colon.
        scheme: String,
    },
    /// Redis cannot be reached, did not answer in time, or refused.
    #[error("the queue's Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// Redis would throw queued jobs away when its memory is full.
    #[error(
        "the queue's Redis has maxmemory-policy `{policy}` and may drop jobs: set it to `noeviction` \
         (CONFIG SET maxmemory-policy noeviction, and in its configuration file)"
    )]
    Evicts {
        /// The policy it has.
        policy: String,
    },
    /// Neither `CONFIG GET` nor `INFO memory` shows the policy.
    #[error("the queue's Redis does not tell its maxmemory-policy: allow CONFIG GET or INFO to this user")]
    EvictionUnknown,
    /// The job cannot be written as JSON.
    #[error("a job cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}

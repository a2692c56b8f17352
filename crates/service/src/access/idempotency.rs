//! `Idempotency-Key`: the first request with a key does the work, and a repeat gets the same answer.

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use tollgate_domain::{Idempotency, StoredResponse};

use super::IdempotencyKeys;
use crate::{Caller, Error};

/// How long an unfinished attempt blocks repeats. After that its process is taken for dead, and a repeat does the work.
const ABANDONED_AFTER: TimeDelta = TimeDelta::minutes(2);
/// How long a response is replayed (API contract).
const KEPT: TimeDelta = TimeDelta::hours(24);

/// Distinguishes requests by method, path with query, the headers that say what is asked for, and body.
pub fn fingerprint(method: &str, path: &str, headers: &[u8], body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), headers, body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl IdempotencyKeys<'_> {
    /// Claims `key` for this request, or returns the outcome of the first request with it.
    pub async fn begin(self, caller: &Caller, key: &str, fingerprint: &[u8; 32]) -> Result<Idempotency, Error> {
        let now = self.0.clock().now();
        let (actor, stale, expired) = (caller.actor(), now - ABANDONED_AFTER, now - KEPT);
        let begun =
            self.0.repository().idempotency().begin(caller.tenant_id(), &actor, key, fingerprint, now, stale, expired);
        Ok(begun.await?)
    }

    /// Stores the answer for repeats.
    pub async fn finish(self, caller: &Caller, key: &str, response: &StoredResponse) -> Result<(), Error> {
        Ok(self.0.repository().idempotency().finish(caller.tenant_id(), &caller.actor(), key, response).await?)
    }

    /// Call when the request failed through no fault of the client: a repeat then does the work.
    pub async fn forget(self, caller: &Caller, key: &str) -> Result<(), Error> {
        Ok(self.0.repository().idempotency().forget(caller.tenant_id(), &caller.actor(), key).await?)
    }
}

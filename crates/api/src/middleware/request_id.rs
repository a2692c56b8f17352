//! The id of a request in its response, in its log line and in its problem.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tollgate_domain::Clock;
use uuid::Builder;

/// The header with the id, in requests and responses.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a client may choose.
const MAX_LEN: usize = 128;
/// 2^64 divided by the golden ratio: multiples of it spread evenly (SplitMix64).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes ids: UUIDv7 with the clock's time, made unique by a count that is scrambled with this process's seed.
///
/// They must be unique, not secret; random bytes from the operating system for each would
/// cost more than the whole check.
pub(crate) struct RequestIds {
    clock: Clock,
    seed: u128,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(clock: Clock) -> Self {
        let seed = clock.new_id().as_u128();
        Self { clock, seed, count: AtomicU64::new(0) }
    }

    /// The client's id if it is 1 to 128 visible ASCII characters, otherwise a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let own = headers.get(X_REQUEST_ID).filter(|id| {
            let bytes = id.as_bytes();
            (1..=MAX_LEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
        });
        own.cloned().unwrap_or_else(|| self.next())
    }

    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let low = u64::try_from(self.seed & u128::from(u64::MAX)).unwrap_or(0);
        let mixed = scramble(low.wrapping_add(count.wrapping_mul(GOLDEN)));
        let mut random = [0; 10];
        let (head, tail) = random.split_at_mut(2);
        // Two bytes that differ between processes, and eight that never repeat within one.
        head.copy_from_slice(&self.seed.to_le_bytes()[4..6]);
        tail.copy_from_slice(&mixed.to_le_bytes());
        let millis = u64::try_from(self.clock.micros() / 1_000).unwrap_or(0);
        let id = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("unknown"))
    }
}

/// The finalizer of SplitMix64: a bijection, so different counts give different ids.
fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn of(own: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(own).unwrap());
        RequestIds::new(Clock::System).of(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_clients_own_id_is_kept_when_it_is_short_and_visible() {
        assert_eq!(of(b"abc-123"), "abc-123");
        assert_eq!(of("x".repeat(128).as_bytes()).len(), 128);
        for bad in [&b""[..], b"a b", b"\xe4", "x".repeat(129).as_bytes()] {
            assert_eq!(of(bad).len(), 36, "{bad:?}");
        }
    }

    #[test]
    fn new_ids_are_uuid_v7_and_never_repeat() {
        let ids = RequestIds::new(Clock::System);
        let mut seen = HashSet::new();
        for _ in 0..100_000 {
            let id = ids.of(&HeaderMap::new()).to_str().unwrap().to_owned();
            assert!(seen.insert(id.clone()), "{id} twice");
            assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
        }
    }
}

//! The id of a request in its response, in its log line and in its problem.

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

/// Makes ids: UUIDv7 of the clock's time. They need to be unique, not secret: the operating system's randomness for each
/// would cost more than the whole check.
pub(crate) struct RequestIds(Clock);

impl RequestIds {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(clock)
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
        let millis = u64::try_from(self.0.micros() / 1_000).unwrap_or(0);
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let id = Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("unknown"))
    }
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

//! Concurrency: a number of units at a time. Nothing is consumed: slots are held until they are released, or their time is up.
//! It has no cell; its reservations are all there is.

/// At most `limit` held at once, each for `life` µs unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concurrency {
    pub(crate) limit: i64,
    pub(crate) life: i64,
}

//! Concurrency: a number of units at a time. Nothing is consumed: a slot is held until it is released or its time is
//! up. It has no cell, only reservations.

/// At most `limit` held at once, each for `life` µs unless renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concurrency {
    pub(crate) limit: i64,
    pub(crate) life: i64,
}

//! Concurrency: so many at a time. Nothing is consumed: slots are held until they are released, or their time is up.
//! It has no cell; its holds are all there is.
use super::{Numbers, Rolled};

/// At most `limit` held at once, each for `life` µs unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Concurrency {
    pub(crate) limit: i64,
    pub(crate) life: i64,
}

impl Concurrency {
    pub(super) fn roll(now: i64) -> Rolled {
        Rolled { numbers: Numbers::default(), at: now, end: now, moved: false }
    }

    pub(super) fn fits_at(&self, rolled: &Rolled, price: i64) -> i64 {
        if price > self.limit { i64::MAX } else { rolled.at }
    }
}

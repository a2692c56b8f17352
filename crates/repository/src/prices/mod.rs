//! Prices in versions, from when a plan has which, and from when a key is on which plan. The plan's and the key's own writes
//! call this in their transactions, so that no change is without its price.

mod backfill;
mod schedule;
pub(crate) mod spans;
mod timeline;

use crate::Repository;

pub(crate) use schedule::set;
pub(crate) use timeline::{of_key, of_keys, segment_starts};

/// What keys cost from when.
#[derive(Clone, Copy)]
pub struct PriceHistory<'a>(&'a Repository);

impl Repository {
    /// What keys cost from when.
    pub fn prices(&self) -> PriceHistory<'_> {
        PriceHistory(self)
    }
}

//! Parts of all keys. Each fold adds one part to the tables.

use super::ALL_BUCKETS;

/// Buckets of one fold: with 100,000 active keys some 400 keys, a transaction of a few milliseconds.
const BUCKETS_PER_FOLD: i16 = 4;

/// A part of all keys, for one fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoldPart {
    /// Its first bucket.
    pub first: i16,
    /// Its last bucket.
    pub last: i16,
}

impl FoldPart {
    /// The part that contains a bucket. Batches of few keys, which have no bucket, are a part of their own.
    pub fn of_bucket(bucket: i16) -> Self {
        if bucket == ALL_BUCKETS {
            return Self { first: ALL_BUCKETS, last: ALL_BUCKETS };
        }
        let first = bucket - bucket % BUCKETS_PER_FOLD;
        Self { first, last: first + BUCKETS_PER_FOLD - 1 }
    }
}

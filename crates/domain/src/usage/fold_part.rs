//! Parts of all keys, each of which is added to the tables at a time.

use super::ALL_BUCKETS;

/// Buckets that one fold takes: with 100,000 active keys some 400 of them, a transaction of a few milliseconds.
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
    /// The part that a bucket is in. Batches of few keys are a part of their own.
    pub fn of_bucket(bucket: i16) -> Self {
        if bucket == ALL_BUCKETS {
            return Self { first: ALL_BUCKETS, last: ALL_BUCKETS };
        }
        let first = bucket - bucket % BUCKETS_PER_FOLD;
        Self { first, last: first + BUCKETS_PER_FOLD - 1 }
    }
}

//! The subject that is counted: a keyed hash of any identifiers, so that names never reach a Redis key or a script.
use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The secret of the keyed hash. Nodes that share counters must share it. Without it nobody can
/// target a subject or a partition.
#[derive(Clone, Copy)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// A key of 16 random bytes.
    pub const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }
}

/// Hides the secret.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// One owner of counters: a 128-bit hash and one of 256 partitions. All subjects of one check are in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject {
    hash: [u64; 2],
    partition: u8,
}

impl Subject {
    /// The subject named by `parts`, in the partition that its hash selects. Parts are hashed with their lengths, so
    /// `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn new(key: &HashKey, parts: &[&[u8]]) -> Self {
        let mut hasher = SipHasher13::new_with_key(&key.0);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        let hash = hasher.finish128();
        Self { hash: [hash.h1, hash.h2], partition: hash.h1.to_le_bytes()[0] }
    }

    /// This subject moved to `other`'s partition, so that one check can contain both. Always move the same subject to
    /// the same partition, because its counters live there.
    #[must_use]
    pub fn in_partition_of(self, other: &Subject) -> Self {
        Self { partition: other.partition, ..self }
    }

    /// 0..=255: the Redis hash tag and the shard in memory.
    pub fn partition(&self) -> u8 {
        self.partition
    }

    pub(crate) fn hash(&self) -> [u64; 2] {
        self.hash
    }
}

//! Usage of keys, packed into a few bytes per key: the form in which it goes to the database and waits for a fold. A
//! version byte, then postcard's encoding of [`Wire`].

use std::{collections::HashMap, fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use super::{Counts, EndpointUsage, KeyUsage, MinuteUsage};
use crate::{ApiKeyId, TenantId, period};

/// The layout of [`Wire`]. Rows wait for minutes at most, but a new worker may read those of an old node.
const VERSION: u8 = 1;

/// Buckets of keys: a read of one key's rows skips those of other buckets, and a fold works on a part of all keys. With
/// 100,000 keys each bucket has about a hundred.
pub const BUCKETS: i16 = 1_024;
/// The bucket of a chunk with all keys of a small batch.
pub const ALL_BUCKETS: i16 = -1;
/// Most keys of a batch in one chunk. A read of one key decodes as many, which takes a few microseconds.
const MAX_WHOLE: usize = 256;

/// The rows of some keys of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageChunk {
    /// The [`bucket_of`] its keys, or [`ALL_BUCKETS`].
    pub bucket: i16,
    /// The usage of these keys.
    pub rows: PackedUsage,
}

/// Packed rows. Read them with [`PackedUsage::unpack`].
#[derive(Clone, PartialEq, Eq)]
pub struct PackedUsage(Vec<u8>);

/// Packed rows that cannot be read, because they are of a newer version or damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a newer version of the service.
    #[error("usage rows of version {0} are newer than this program")]
    Newer(u8),
    /// Damaged bytes.
    #[error("usage rows are damaged: {0}")]
    Damaged(String),
}

/// The bucket of a key. It is stored, so this function must not change.
pub fn bucket_of(id: ApiKeyId) -> i16 {
    // The last bytes of a UUIDv7 are random.
    let [.., high, low] = *id.0.as_bytes();
    i16::from_be_bytes([high, low]).rem_euclid(BUCKETS)
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    endpoints: Vec<&'a str>,
    tenants: Vec<[u8; 16]>,
    /// Minutes since the Unix epoch. The rows' minutes count from here.
    base_minute: i64,
    keys: Vec<WireKey>,
}

/// The first members of [`Wire`], to read them alone.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "endpoints")]
    _endpoints: Vec<&'a str>,
    tenants: Vec<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
struct WireKey {
    /// Index among the tenants.
    tenant: u32,
    id: [u8; 16],
    minutes: Vec<WireMinute>,
    endpoints: Vec<WireEndpoint>,
}

#[derive(Serialize, Deserialize)]
struct WireMinute {
    after_base: i64,
    allowed: i64,
    rate_limited: i64,
    quota_exceeded: i64,
    rejected: i64,
    /// Microseconds from the minute's start to the last decision.
    last_at: i64,
}

#[derive(Serialize, Deserialize)]
struct WireEndpoint {
    /// Days since the Unix epoch.
    day: i32,
    /// Index among the endpoints.
    endpoint: u32,
    allowed: i64,
}

/// Packs the usage of `keys`: a few keys into one chunk, many into one per bucket.
pub fn pack(keys: &[KeyUsage]) -> Vec<UsageChunk> {
    let whole = keys.len() <= MAX_WHOLE;
    let mut buckets: HashMap<i16, Vec<&KeyUsage>> = HashMap::new();
    for key in keys {
        let bucket = if whole { ALL_BUCKETS } else { bucket_of(key.api_key_id) };
        buckets.entry(bucket).or_default().push(key);
    }
    let mut chunks: Vec<_> =
        buckets.into_iter().map(|(bucket, keys)| UsageChunk { bucket, rows: PackedUsage::pack(&keys) }).collect();
    chunks.sort_unstable_by_key(|chunk| chunk.bucket);
    chunks
}

impl PackedUsage {
    /// Rows from stored [`PackedUsage::as_bytes`].
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn pack(keys: &[&KeyUsage]) -> Self {
        let (mut endpoints, mut tenants) = (Interned::default(), Interned::default());
        let minute = |at: DateTime<Utc>| period::minutes_since_epoch(at);
        let first = |key: &&KeyUsage| key.minutes.first().map(|row| minute(row.minute));
        let base_minute = keys.iter().find_map(first).unwrap_or(0);
        let pack_minute = |row: &MinuteUsage| WireMinute {
            after_base: minute(row.minute) - base_minute,
            allowed: row.counts.allowed,
            rate_limited: row.counts.rate_limited,
            quota_exceeded: row.counts.quota_exceeded,
            rejected: row.counts.rejected,
            last_at: row.last_at.timestamp_micros() - row.minute.timestamp_micros(),
        };
        let packed: Vec<_> = keys
            .iter()
            .map(|key| WireKey {
                tenant: tenants.index(*key.tenant_id.0.as_bytes()),
                id: *key.api_key_id.0.as_bytes(),
                minutes: key.minutes.iter().map(pack_minute).collect(),
                endpoints: key
                    .endpoints
                    .iter()
                    .map(|row| WireEndpoint {
                        day: i32::try_from(period::days_since_epoch(row.day)).unwrap_or(0),
                        endpoint: endpoints.index(&*row.endpoint),
                        allowed: row.allowed,
                    })
                    .collect(),
            })
            .collect();
        let wire = Wire { endpoints: endpoints.values, tenants: tenants.values, base_minute, keys: packed };
        // Encoding into growing memory cannot fail. Missing rows would show as a gap in the sums.
        Self(postcard::to_extend(&wire, vec![VERSION]).unwrap_or_default())
    }

    /// The tenants of the keys, each once. Decodes only the head of the rows.
    ///
    /// # Errors
    /// As [`PackedUsage::unpack`].
    pub fn tenants(&self) -> Result<Vec<TenantId>, Unreadable> {
        let (head, _) = postcard::take_from_bytes::<Head<'_>>(self.rows()?).map_err(damaged)?;
        Ok(head.tenants.into_iter().map(|tenant| TenantId(Uuid::from_bytes(tenant))).collect())
    }

    /// The bytes after the version byte.
    fn rows(&self) -> Result<&[u8], Unreadable> {
        match self.0.split_first() {
            Some((&VERSION, rows)) => Ok(rows),
            Some((version, _)) => Err(Unreadable::Newer(*version)),
            None => Err(damaged("they are empty")),
        }
    }

    /// The usage of all keys.
    ///
    /// # Errors
    /// When the bytes were not written by [`pack`].
    pub fn unpack(&self) -> Result<Vec<KeyUsage>, Unreadable> {
        self.unpack_where(|_| true)
    }

    /// The usage of the keys for which `wanted` is true.
    ///
    /// # Errors
    /// As [`PackedUsage::unpack`].
    pub fn unpack_where(&self, wanted: impl Fn(ApiKeyId) -> bool) -> Result<Vec<KeyUsage>, Unreadable> {
        let wire: Wire<'_> = postcard::from_bytes(self.rows()?).map_err(damaged)?;
        let endpoints: Vec<Arc<str>> = wire.endpoints.iter().map(|text| Arc::from(*text)).collect();
        let base = wire.base_minute;
        let unpack_key = |key: WireKey| {
            let tenant = wire.tenants.get(index(key.tenant)).ok_or_else(|| damaged("no such tenant"))?;
            let endpoint = |row: WireEndpoint| {
                let endpoint = endpoints.get(index(row.endpoint)).ok_or_else(|| damaged("no such endpoint"))?;
                let day = period::start_of_day(i64::from(row.day));
                Ok(EndpointUsage { day, endpoint: endpoint.clone(), allowed: row.allowed })
            };
            Ok(KeyUsage {
                tenant_id: TenantId(Uuid::from_bytes(*tenant)),
                api_key_id: ApiKeyId(Uuid::from_bytes(key.id)),
                minutes: key.minutes.into_iter().map(|row| unpack_minute(base, &row)).collect(),
                endpoints: key.endpoints.into_iter().map(endpoint).collect::<Result<_, _>>()?,
            })
        };
        wire.keys.into_iter().filter(|key| wanted(ApiKeyId(Uuid::from_bytes(key.id)))).map(unpack_key).collect()
    }
}

fn damaged(what: impl fmt::Display) -> Unreadable {
    Unreadable::Damaged(what.to_string())
}

fn unpack_minute(base: i64, row: &WireMinute) -> MinuteUsage {
    let minute = period::start_of_minute(base.saturating_add(row.after_base));
    let WireMinute { allowed, rate_limited, quota_exceeded, rejected, last_at, .. } = *row;
    MinuteUsage {
        minute,
        counts: Counts { allowed, rate_limited, quota_exceeded, rejected },
        last_at: DateTime::from_timestamp_micros(minute.timestamp_micros().saturating_add(last_at)).unwrap_or(minute),
    }
}

fn index(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// Collects each value once, and refers to it by its index.
struct Interned<T> {
    values: Vec<T>,
    indexes: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { values: Vec::new(), indexes: HashMap::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Interned<T> {
    fn index(&mut self, value: T) -> u32 {
        *self.indexes.entry(value).or_insert_with(|| {
            self.values.push(value);
            u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl fmt::Debug for PackedUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedUsage({} bytes)", self.0.len())
    }
}

impl Serialize for PackedUsage {
    /// Base64 (RFC 4648).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for PackedUsage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn key(n: u16, tenant: u128) -> KeyUsage {
        let minute = period::start_of_minute(29_000_000 + i64::from(n % 3));
        let counts = Counts { allowed: i64::from(n) + 1, rate_limited: 2, quota_exceeded: 0, rejected: i64::MAX };
        let row = |minute: DateTime<Utc>| MinuteUsage {
            minute,
            counts,
            last_at: minute + TimeDelta::microseconds(59_999_999),
        };
        KeyUsage {
            tenant_id: TenantId(Uuid::from_u128(tenant)),
            api_key_id: ApiKeyId(Uuid::from_u128(u128::from(n) << 64 | u128::from(n))),
            minutes: vec![row(minute), row(minute - TimeDelta::days(40))],
            endpoints: vec![EndpointUsage {
                day: period::start_of_day(20_000),
                endpoint: Arc::from(["/a", "/ä"][usize::from(n % 2)]),
                allowed: 3,
            }],
        }
    }

    fn unpacked(chunks: &[UsageChunk]) -> Vec<KeyUsage> {
        let mut keys: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows.unpack().unwrap()).collect();
        keys.sort_unstable_by_key(|key| key.api_key_id);
        keys
    }

    #[test]
    fn rows_read_back_as_they_were_packed_few_or_many_also_through_json() {
        for count in [0, 1, 256, 3_000] {
            let keys: Vec<_> = (0..count).map(|n| key(n, u128::from(n % 2))).collect();
            let chunks = pack(&keys);
            assert_eq!(unpacked(&chunks), keys);
            let json = serde_json::to_string(&chunks).unwrap();
            assert_eq!(serde_json::from_str::<Vec<UsageChunk>>(&json).unwrap(), chunks);
        }
    }

    #[test]
    fn a_key_is_in_the_chunk_of_its_bucket_or_in_the_one_of_all() {
        let few: Vec<_> = (0..10).map(|n| key(n, 7)).collect();
        assert_eq!(pack(&few).iter().map(|chunk| chunk.bucket).collect::<Vec<_>>(), [ALL_BUCKETS]);
        let many: Vec<_> = (0..3_000).map(|n| key(n, 7)).collect();
        for chunk in pack(&many) {
            let keys = chunk.rows.unpack().unwrap();
            assert!(keys.iter().all(|key| bucket_of(key.api_key_id) == chunk.bucket));
            let first = keys.first().unwrap().api_key_id;
            assert_eq!(chunk.rows.unpack_where(|id| id == first).unwrap().len(), 1);
        }
    }

    #[test]
    fn a_row_takes_about_as_much_as_its_ids() {
        let keys: Vec<_> = (0..3_000)
            .map(|n| {
                let mut key = key(n, 7);
                key.minutes.truncate(1);
                key.minutes[0].counts = Counts { allowed: 100, ..Counts::default() };
                key
            })
            .collect();
        let bytes: usize = pack(&keys).iter().map(|chunk| chunk.rows.as_bytes().len()).sum();
        assert!(bytes < 3_000 * 48, "{} bytes per key", bytes / 3_000);
    }

    #[test]
    fn the_tenants_of_rows_are_told_each_once() {
        let chunk = pack(&[key(1, 7), key(2, 8), key(3, 7)]).remove(0);
        assert_eq!(chunk.rows.tenants().unwrap(), [7, 8].map(|id| TenantId(Uuid::from_u128(id))));
    }

    #[test]
    fn damaged_and_newer_rows_are_told_and_never_panic() {
        let chunk = pack(&[key(1, 7)]).remove(0);
        let bytes = chunk.rows.as_bytes();
        for cut in 0..bytes.len() {
            assert!(PackedUsage::from_bytes(bytes[..cut].to_vec()).unpack().is_err(), "{cut}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x55;
            let changed = PackedUsage::from_bytes(changed);
            let _ = (changed.unpack(), changed.tenants());
        }
        assert_eq!(PackedUsage::from_bytes(vec![9]).unpack(), Err(Unreadable::Newer(9)));
    }
}

//! Keys that this node knows, by the hash of a secret or by id. Bounded; one look-up at a time per key.
//!
//! While the database is down, a known key is served from here, up to a bound. A refresh runs while the old entry is
//! served, so no caller waits for it. Changed keys are dropped within one poll (`ops::background`), or at once on the
//! node that made the change, at a cost that depends on the change and not on the cache's size. Unknown secrets are
//! remembered separately, so that a guessed secret neither reaches the database twice nor pushes out known keys.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use smallvec::SmallVec;
use tokio::sync::OnceCell;
use tollgate_domain::{ApiKeyId, SecretHash, TenantId};

use crate::{Error, KnownKey};

/// Enough that 64 threads rarely meet at one lock.
const SHARDS: usize = 64;
/// Bytes of a cached key besides the key itself: its places in the maps.
const OVERHEAD: usize = 256;

/// How a key is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// The hash of its secret.
    Secret(SecretHash),
    /// By its id, within the tenant that must own it.
    Id(TenantId, ApiKeyId),
}

/// Bounds in entries, bytes and microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Known keys.
    pub max_keys: usize,
    /// Bytes of known keys. The owner decides how much a key holds, within limits.
    pub max_bytes: usize,
    /// Unknown secrets.
    pub max_unknown: usize,
    /// Age from which a known key is read again.
    pub refresh_after: i64,
    /// How long a known key may be served after it was last known to equal the database.
    pub stale_after: i64,
    /// How long an unknown secret is remembered.
    pub unknown_for: i64,
}

/// The cache's answer, without asking the database.
pub enum Cached {
    /// Serve it.
    Fresh(Arc<KnownKey>),
    /// Serve it, and read it again meanwhile.
    Stale(Arc<KnownKey>),
    /// The key did not exist a moment ago.
    Unknown,
    /// Look it up in the database.
    Miss,
}

/// A look-up in progress, shared by all who wait for it, including its failure.
type Flight = Arc<OnceCell<Result<Option<Arc<KnownKey>>, Error>>>;

struct Known {
    entry: Arc<KnownKey>,
    loaded_at: i64,
    refreshing: bool,
}

#[derive(Default)]
struct Shard {
    known: HashMap<Lookup, Known>,
    unknown: HashMap<Lookup, i64>,
    flights: HashMap<Lookup, Flight>,
}

/// The look-ups under which each key is held, so that forgetting one does not search all. Its
/// lock is taken after a shard's.
type Index = HashMap<ApiKeyId, SmallVec<[Lookup; 1]>>;

/// The cache of one node.
pub struct KeyCache {
    shards: Vec<Mutex<Shard>>,
    index: Vec<Mutex<Index>>,
    hasher: RandomState,
    bounds: Bounds,
    /// Changes with every invalidation. A key that was read before the change is served once and not kept.
    generation: AtomicU64,
    len: AtomicUsize,
    bytes: AtomicUsize,
    /// When every known key was last known to equal the database.
    confirmed_at: AtomicI64,
}

impl KeyCache {
    /// A cache without entries.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            index: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            bounds,
            generation: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            confirmed_at: AtomicI64::new(i64::MIN),
        }
    }

    /// What is known for `lookup` at `now`. Only one caller gets `Stale`, and must refresh the key.
    pub fn get(&self, lookup: &Lookup, now: i64) -> Cached {
        let mut shard = self.shard(lookup);
        if let Some(known) = shard.known.get_mut(lookup).filter(|known| !known.entry.is_outdated(now)) {
            let confirmed_at = known.loaded_at.max(self.confirmed_at.load(Ordering::Relaxed));
            let is_served = now.saturating_sub(confirmed_at) < self.bounds.stale_after;
            let is_old = now.saturating_sub(known.loaded_at) >= self.bounds.refresh_after;
            if is_served && (known.refreshing || !is_old) {
                return Cached::Fresh(known.entry.clone());
            }
            if is_served {
                known.refreshing = true;
                return Cached::Stale(known.entry.clone());
            }
        }
        match shard.unknown.get(lookup) {
            Some(since) if now.saturating_sub(*since) < self.bounds.unknown_for => Cached::Unknown,
            _ => Cached::Miss,
        }
    }

    /// A known key at `now`, in microseconds, however it was looked up.
    pub fn held(&self, tenant_id: TenantId, id: ApiKeyId, now: i64) -> Option<Arc<KnownKey>> {
        let lookup = self.index(id).get(&id)?.first().copied()?;
        let shard = self.shard(&lookup);
        let known = shard.known.get(&lookup).filter(|known| !known.entry.is_outdated(now))?;
        (known.entry.key.tenant_id == tenant_id).then(|| known.entry.clone())
    }

    /// Changes with every invalidation. A key that is read after this call may be kept unless it has changed meanwhile.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks up through `load`, once for all callers that wait, and keeps the result.
    pub async fn load<F>(&self, lookup: Lookup, now: i64, load: F) -> Result<Option<Arc<KnownKey>>, Error>
    where
        F: Future<Output = Result<Option<KnownKey>, Error>>,
    {
        let generation = self.generation();
        let flight = InFlight::join(self, lookup);
        let loaded = flight.cell.get_or_init(|| async { load.await.map(|found| found.map(Arc::new)) }).await;
        let mut shard = self.shard(&lookup);
        match loaded {
            Ok(found) => {
                if flight.is_current(&shard) {
                    match found {
                        Some(entry) => self.keep(&mut shard, lookup, entry.clone(), now, generation),
                        None => self.keep_unknown(&mut shard, lookup, now, generation),
                    }
                }
                Ok(found.clone())
            }
            Err(error) => {
                if let Some(known) = shard.known.get_mut(&lookup) {
                    known.refreshing = false;
                }
                Err(error.shared())
            }
        }
    }

    /// Keeps a key that was read by its id after `generation` was.
    pub fn insert(&self, entry: Arc<KnownKey>, now: i64, generation: u64) {
        let lookup = Lookup::Id(entry.key.tenant_id, entry.key.id);
        self.keep(&mut self.shard(&lookup), lookup, entry, now, generation);
    }

    fn keep(&self, shard: &mut Shard, lookup: Lookup, entry: Arc<KnownKey>, now: i64, generation: u64) {
        let bytes = entry.size() + OVERHEAD;
        self.make_room(shard, &lookup, bytes);
        let id = entry.key.id;
        // An invalidation changes the generation first and then reads the index, so this lock orders the two.
        let mut index = self.index(id);
        if self.generation() != generation {
            return;
        }
        let lookups = index.entry(id).or_default();
        if !lookups.contains(&lookup) {
            lookups.push(lookup);
        }
        drop(index);
        shard.unknown.remove(&lookup);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match shard.known.insert(lookup, Known { entry, loaded_at: now, refreshing: false }) {
            Some(former) => self.bytes.fetch_sub(former.entry.size() + OVERHEAD, Ordering::Relaxed),
            None => self.len.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn keep_unknown(&self, shard: &mut Shard, lookup: Lookup, now: i64, generation: u64) {
        self.remove(shard, &lookup);
        if self.bounds.max_unknown > 0 && self.generation() == generation {
            while shard.unknown.len() >= (self.bounds.max_unknown / SHARDS).max(1) {
                let Some(oldest) = oldest(&shard.unknown, |since| *since) else { break };
                shard.unknown.remove(&oldest);
            }
            shard.unknown.insert(lookup, now);
        }
    }

    /// Drops the oldest of a few entries until there is room for one more, without a scan of the shard. The bounds
    /// apply to all shards together: bounds per shard would drop keys from a full shard while others have room.
    fn make_room(&self, shard: &mut Shard, lookup: &Lookup, bytes: usize) {
        while !shard.known.contains_key(lookup) && self.is_full(bytes) {
            if !self.remove_oldest(shard) && !self.remove_oldest_elsewhere() {
                return;
            }
        }
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.len() >= self.bounds.max_keys
            || self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.bounds.max_bytes
    }

    fn remove_oldest(&self, shard: &mut Shard) -> bool {
        let oldest = oldest(&shard.known, |known| known.loaded_at);
        oldest.inspect(|oldest| self.remove(shard, oldest)).is_some()
    }

    /// Takes the first shard that has an entry and is not locked, because the caller holds one lock
    /// and may not wait for another.
    fn remove_oldest_elsewhere(&self) -> bool {
        self.shards.iter().filter_map(|shard| shard.try_lock().ok()).any(|mut shard| self.remove_oldest(&mut shard))
    }

    fn remove(&self, shard: &mut Shard, lookup: &Lookup) {
        let Some(known) = shard.known.remove(lookup) else { return };
        self.bytes.fetch_sub(known.entry.size() + OVERHEAD, Ordering::Relaxed);
        self.len.fetch_sub(1, Ordering::Relaxed);
        let mut index = self.index(known.entry.key.id);
        if let Some(lookups) = index.get_mut(&known.entry.key.id) {
            lookups.retain(|held| held != lookup);
            if lookups.is_empty() {
                index.remove(&known.entry.key.id);
            }
        }
    }

    /// Forgets these keys; they are looked up again at their next use. Also call it, without keys, after any other
    /// change of what cached keys are made from.
    pub fn forget(&self, keys: impl IntoIterator<Item = ApiKeyId>) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for id in keys {
            let lookups = self.index(id).get(&id).cloned().unwrap_or_default();
            for lookup in lookups {
                self.remove(&mut self.shard(&lookup), &lookup);
            }
        }
    }

    /// Records that at `at` nothing else had changed than what was forgotten.
    pub fn confirm(&self, at: i64) {
        self.confirmed_at.fetch_max(at, Ordering::Relaxed);
    }

    /// Forgets every key that was read before now, because it is not known what changed.
    pub fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = lock(shard);
            let held: Vec<Lookup> = shard.known.keys().copied().collect();
            held.iter().for_each(|lookup| self.remove(&mut shard, lookup));
        }
    }

    /// The number of known keys.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of the number of shards is below it")]
    fn shard(&self, lookup: &Lookup) -> MutexGuard<'_, Shard> {
        let index = match lookup {
            // A SHA-256 is evenly spread.
            Lookup::Secret(SecretHash([first, ..])) => usize::from(*first),
            Lookup::Id(..) => usize::try_from(self.hasher.hash_one(lookup) & 0xffff).unwrap_or(0),
        };
        lock(&self.shards[index % SHARDS])
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of the number of shards is below it")]
    fn index(&self, id: ApiKeyId) -> MutexGuard<'_, Index> {
        // The last byte of a UUIDv7 is random.
        let [.., last] = *id.0.as_bytes();
        lock(&self.index[usize::from(last) % SHARDS])
    }
}

/// A caller's part in a look-up. The last one to leave removes it, even when all were cancelled.
struct InFlight<'a> {
    cache: &'a KeyCache,
    lookup: Lookup,
    cell: Flight,
}

impl<'a> InFlight<'a> {
    fn join(cache: &'a KeyCache, lookup: Lookup) -> Self {
        let cell = cache.shard(&lookup).flights.entry(lookup).or_default().clone();
        Self { cache, lookup, cell }
    }

    fn is_current(&self, shard: &Shard) -> bool {
        shard.flights.get(&self.lookup).is_some_and(|current| Arc::ptr_eq(current, &self.cell))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut shard = self.cache.shard(&self.lookup);
        // Two references: the map's and this one.
        if self.is_current(&shard) && (self.cell.initialized() || Arc::strong_count(&self.cell) <= 2) {
            shard.flights.remove(&self.lookup);
        }
    }
}

/// The oldest of a few entries.
fn oldest<V>(map: &HashMap<Lookup, V>, age: impl Fn(&V) -> i64) -> Option<Lookup> {
    map.iter().take(8).min_by_key(|(_, value)| age(value)).map(|(lookup, _)| *lookup)
}

/// A panic while the lock is held leaves the entries whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Admin tokens that this node knows, by the hash of a secret, so that no request reads one from the database.
//!
//! They are served, refreshed and forgotten like keys ([`crate::check::cache`]). There are few, so a
//! full cache is simply emptied.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use tollgate_domain::{AdminToken, SecretHash, TokenId, TokenSecret};
use tollgate_repository::FoundToken;

use super::Access;
use crate::{Error, check::cache::Bounds};

/// Most tokens held, and most unknown secrets remembered.
const MAX_HELD: usize = 10_000;
/// How old the last recorded use must be, in microseconds, before a new one is recorded:
/// `last_used_at` is right to within a minute.
const NOTED_EVERY: i64 = 30_000_000;

/// A token, with the secret that led to it.
pub(crate) struct KnownToken {
    pub(crate) token: Arc<AdminToken>,
    /// When that secret ends, because a rotation has replaced it.
    pub(crate) secret_ends: Option<DateTime<Utc>>,
    /// The last recorded use, in microseconds.
    noted: AtomicI64,
}

impl From<FoundToken> for KnownToken {
    fn from(FoundToken { token, secret_expires_at }: FoundToken) -> Self {
        let noted = token.last_used_at.map_or(i64::MIN, |at| at.timestamp_micros());
        Self { token: Arc::new(token), secret_ends: secret_expires_at, noted: AtomicI64::new(noted) }
    }
}

/// The cache of one node.
pub(crate) struct TokenCache {
    bounds: Bounds,
    tokens: Mutex<Contents>,
    /// Held while one token is read. A caller that waited for it finds that token in the cache.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Contents {
    known: HashMap<SecretHash, Held>,
    /// Secrets that belong to no token, and when that was found.
    unknown: HashMap<SecretHash, i64>,
    /// Hashes of the secrets that operators chose, which may lack a checksum. None is added after the start.
    chosen: HashSet<SecretHash>,
    /// Changes whenever tokens are forgotten. A token that was read before the change is served once and not kept.
    generation: u64,
    /// When everything in the cache was last known to equal the database.
    confirmed_at: i64,
}

struct Held {
    known: Arc<KnownToken>,
    read_at: i64,
    refresh_at: i64,
}

/// The cache's answer, without asking the database.
enum Cached {
    Fresh(Arc<KnownToken>),
    /// Serve it. Only one caller gets this answer, and must read the token again meanwhile.
    Stale(Arc<KnownToken>),
    Unknown,
    Miss,
}

impl TokenCache {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, tokens: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The hash of a token that an operator chose, if it exists. Other text goes no further.
    pub(crate) fn chosen(&self, text: &str) -> Option<SecretHash> {
        let hash = TokenSecret::chosen(text)?.hash();
        self.lock().chosen.contains(&hash).then_some(hash)
    }

    fn get(&self, hash: &SecretHash, now: i64) -> Cached {
        let mut tokens = self.lock();
        let confirmed_at = tokens.confirmed_at;
        if let Some(held) = tokens.known.get_mut(hash)
            && now.saturating_sub(held.read_at.max(confirmed_at)) < self.bounds.stale_after
        {
            if now < held.refresh_at {
                return Cached::Fresh(Arc::clone(&held.known));
            }
            held.refresh_at = now.saturating_add(self.bounds.refresh_after);
            return Cached::Stale(Arc::clone(&held.known));
        }
        match tokens.unknown.get(hash) {
            Some(since) if now.saturating_sub(*since) < self.bounds.unknown_for => Cached::Unknown,
            _ => Cached::Miss,
        }
    }

    fn generation(&self) -> u64 {
        self.lock().generation
    }

    fn keep(&self, hash: SecretHash, found: Option<&Arc<KnownToken>>, now: i64, generation: u64) {
        let mut tokens = self.lock();
        if tokens.generation != generation {
            return;
        }
        match found {
            Some(known) => {
                make_room(&mut tokens.known);
                let refresh_at = now.saturating_add(self.bounds.refresh_after);
                tokens.known.insert(hash, Held { known: Arc::clone(known), read_at: now, refresh_at });
            }
            None => {
                tokens.known.remove(&hash);
                make_room(&mut tokens.unknown);
                tokens.unknown.insert(hash, now);
            }
        }
    }

    /// Forgets these tokens; they are read again at their next use.
    pub(crate) fn forget(&self, changed: &[TokenId]) {
        let mut tokens = self.lock();
        tokens.generation += 1;
        tokens.known.retain(|_, held| !changed.contains(&held.known.token.id));
    }

    /// Forgets every token, because it is not known what changed.
    pub(crate) fn forget_all(&self) {
        let mut tokens = self.lock();
        tokens.generation += 1;
        tokens.known.clear();
    }

    /// Records that at `at` nothing else had changed than what was forgotten.
    pub(crate) fn confirm(&self, at: i64) {
        let mut tokens = self.lock();
        tokens.confirmed_at = tokens.confirmed_at.max(at);
    }

    pub(crate) fn set_chosen(&self, chosen: Vec<SecretHash>) {
        self.lock().chosen = chosen.into_iter().collect();
    }

    /// A panic while the lock is held leaves the entries whole.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room<V>(map: &mut HashMap<SecretHash, V>) {
    if map.len() >= MAX_HELD {
        map.clear();
    }
}

impl Access<'_> {
    /// The token behind a secret's hash, from memory if possible. The caller must check whether it has expired.
    pub(crate) async fn token_by_secret(
        self,
        hash: SecretHash,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<KnownToken>>, Error> {
        let cached = || self.0.token_cache().get(&hash, self.0.clock().micros());
        match cached() {
            Cached::Fresh(known) => return Ok(Some(known)),
            Cached::Stale(known) => {
                let service = self.0.clone();
                self.0.spawn(async move {
                    if let Err(error) = service.access().read_token(hash).await {
                        tracing::debug!(%error, "cannot refresh a known token; serving the old one");
                    }
                });
                return Ok(Some(known));
            }
            Cached::Unknown => return Ok(None),
            Cached::Miss => {}
        }
        let generation = self.0.token_cache().generation();
        if !self.secret_exists(hash, from).await? {
            self.0.token_cache().keep(hash, None, self.0.clock().micros(), generation);
            return Ok(None);
        }
        let _alone = self.0.token_cache().reading.lock().await;
        match cached() {
            Cached::Fresh(known) | Cached::Stale(known) => Ok(Some(known)),
            Cached::Unknown => Ok(None),
            Cached::Miss => self.read_token(hash).await,
        }
    }

    async fn read_token(self, hash: SecretHash) -> Result<Option<Arc<KnownToken>>, Error> {
        let (generation, now) = (self.0.token_cache().generation(), self.0.clock().now());
        let found = self.0.repository().tokens().by_secret(&hash, now).await?;
        let found = found.map(|found| Arc::new(KnownToken::from(found)));
        self.0.token_cache().keep(hash, found.as_ref(), now.timestamp_micros(), generation);
        Ok(found)
    }

    /// Records the use in the background, at most once per `NOTED_EVERY`.
    pub(crate) fn note_use(self, known: &Arc<KnownToken>, now: DateTime<Utc>) {
        let (noted, at) = (known.noted.load(Ordering::Relaxed), now.timestamp_micros());
        let is_due = at.saturating_sub(noted) >= NOTED_EVERY;
        if !is_due || known.noted.compare_exchange(noted, at, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let (service, known) = (self.0.clone(), Arc::clone(known));
        self.0.spawn(async move {
            let AdminToken { tenant_id, id, .. } = *known.token;
            if let Err(error) = service.repository().tokens().touch(tenant_id, id, now).await {
                tracing::debug!(%error, "cannot record a token's last use; the next use tries again");
                known.noted.store(noted, Ordering::Relaxed);
            }
        });
    }

    /// Reads the secrets that operators chose, which may lack a checksum.
    pub(crate) async fn read_chosen_tokens(self) -> Result<(), tollgate_repository::Error> {
        self.0.token_cache().set_chosen(self.0.repository().tokens().chosen_secrets().await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::TenantId;
    use uuid::Uuid;

    use super::*;

    const BOUNDS: Bounds =
        Bounds { max_keys: 0, max_bytes: 0, max_unknown: 0, refresh_after: 30, stale_after: 600, unknown_for: 10 };

    fn known(id: u128) -> Arc<KnownToken> {
        let id = TokenId(Uuid::from_u128(id));
        let token = AdminToken::unlimited(id, TenantId::DEFAULT, "t", String::new(), DateTime::UNIX_EPOCH);
        Arc::new(FoundToken { token, secret_expires_at: None }.into())
    }

    fn hash(n: usize) -> SecretHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_le_bytes());
        SecretHash(hash)
    }

    #[test]
    fn a_token_is_served_while_the_database_confirms_it_and_refreshed_by_one() {
        let cache = TokenCache::new(BOUNDS);
        cache.keep(hash(1), Some(&known(1)), 0, 0);
        assert!(matches!(cache.get(&hash(1), 29), Cached::Fresh(_)));
        assert!(matches!(cache.get(&hash(1), 30), Cached::Stale(_)));
        assert!(matches!(cache.get(&hash(1), 30), Cached::Fresh(_)), "another caller reads it");
        assert!(matches!(cache.get(&hash(1), 600), Cached::Miss), "the database has been away for too long");
        cache.confirm(500);
        assert!(matches!(cache.get(&hash(1), 1_099), Cached::Stale(_)));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept() {
        let cache = TokenCache::new(BOUNDS);
        let before = cache.generation();
        cache.forget(&[known(1).token.id]);
        cache.keep(hash(1), Some(&known(1)), 0, before);
        assert!(matches!(cache.get(&hash(1), 0), Cached::Miss));
        for n in 1..=2 {
            cache.keep(hash(n), Some(&known(n as u128)), 0, cache.generation());
        }
        cache.forget(&[known(1).token.id]);
        assert!(matches!(cache.get(&hash(1), 0), Cached::Miss));
        assert!(matches!(cache.get(&hash(2), 0), Cached::Fresh(_)));
    }

    #[test]
    fn unknown_secrets_are_remembered_for_a_while_bounded_and_push_no_token_out() {
        let cache = TokenCache::new(BOUNDS);
        cache.keep(hash(0), Some(&known(1)), 0, 0);
        for n in 1..=3 * MAX_HELD {
            cache.keep(hash(n), None, 0, 0);
        }
        assert!(cache.lock().unknown.len() <= MAX_HELD);
        assert!(matches!(cache.get(&hash(3 * MAX_HELD), 9), Cached::Unknown));
        assert!(matches!(cache.get(&hash(3 * MAX_HELD), 10), Cached::Miss));
        assert!(matches!(cache.get(&hash(0), 9), Cached::Fresh(_)));
    }

    #[test]
    fn of_texts_without_a_checksum_only_those_that_exist_lead_anywhere() {
        let cache = TokenCache::new(BOUNDS);
        let text = "tgt_admin_correct-horse-battery-staple";
        assert!(cache.chosen(text).is_none());
        cache.set_chosen(vec![TokenSecret::chosen(text).unwrap().hash()]);
        assert!(cache.chosen(text).is_some());
        assert!(cache.chosen("tgt_admin_correct-horse-battery-stable").is_none());
    }
}

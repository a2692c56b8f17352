//! The limiter: one type for every store, chosen once by the URL's scheme.
use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use crate::options::{Options, Stats};

#[cfg(feature = "redis")]
use crate::decision::Source;
#[cfg(feature = "redis")]
use crate::redis::{RedisStore, Terms};
use crate::subject::Subject;
use crate::time::Timestamp;
use crate::{
    check::{Check, Purpose, Raise},
    decision::Decision,
    progress::Progress,
};
use crate::{
    error::{Error, InvalidCheck},
    memory::MemoryStore,
    quota::life_of,
    reservation::ReservationId,
};

/// What to tell the shared store in addition to the check.
#[derive(Debug)]
pub struct Undecided(#[cfg(feature = "redis")] Terms);

/// Counters, and the rules that decide with them. Clones are cheap and share the counters.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Limiter {
    /// In this process.
    Memory(Arc<MemoryStore>),
    /// Shared by every process that uses the same Redis.
    #[cfg(feature = "redis")]
    Redis(Arc<RedisStore>),
}

impl Limiter {
    /// A limiter in this process's memory.
    pub fn memory(options: &Options) -> Self {
        Self::Memory(Arc::new(MemoryStore::new(options.max_subjects)))
    }

    /// Opens the limiter that `url` names. A Redis that is down is no error: until it answers, checks are
    /// answered as their limits say. Use `rediss` instead of `redis` for TLS, which needs a default `rustls`
    /// crypto provider in the process.
    ///
    /// - `memory:`
    /// - `redis://user:password@host:6379/database`
    /// - `redis-sentinel://user:password@sentinel:26379,sentinel:26379/master/database`; the credentials are the master's
    /// - `redis-cluster://user:password@host:6379,host:6379`
    pub async fn connect(url: &str, options: Options) -> Result<Self, Error> {
        match url {
            "memory:" => Ok(Self::memory(&options)),
            #[cfg(feature = "redis")]
            _ if url.starts_with("redis") => Ok(Self::Redis(RedisStore::connect(url, options).await?)),
            _ => Err(Error::Scheme { scheme: url.split(':').next().unwrap_or_default().to_owned() }),
        }
    }

    /// Decides `check` and consumes its cost from every limit, or from none. If the caller drops the future before a
    /// shared store has answered, the cost is given back.
    pub async fn check(&self, check: Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        match self.begin(&check, now) {
            Progress::Done(decided) => decided,
            Progress::Waiting(undecided) => self.finish(check, undecided, now).await,
        }
    }

    /// Does as much of [`check`](Self::check) as needs no waiting: in memory all of it, on a shared store only when
    /// this node knows of a refusal or holds a slice. For callers that want to avoid the cost of a future.
    pub fn begin(&self, check: &Check<'_>, now: Timestamp) -> Progress<Result<Decision, Error>, Undecided> {
        match self {
            Self::Memory(store) => Progress::Done(store.check(check, now)),
            #[cfg(feature = "redis")]
            Self::Redis(store) => match store.begin(check, now) {
                Ok(Progress::Done(decision)) => Progress::Done(Ok(decision)),
                Ok(Progress::Waiting(terms)) => Progress::Waiting(Undecided(terms)),
                Err(error) => Progress::Done(Err(error)),
            },
        }
    }

    /// Finishes a check that [`begin`](Self::begin) left undecided. Takes the same check.
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "without Redis nothing is left undecided"))]
    pub async fn finish(&self, check: Check<'_>, undecided: Undecided, now: Timestamp) -> Result<Decision, Error> {
        match self {
            Self::Memory(store) => store.check(&check, now),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.finish(&check, undecided.0, now).await,
        }
    }

    /// What [`check`](Self::check) would answer now: whether the cost fits and, if not, when it will. Consumes and
    /// writes nothing, so the limits' statuses are those without the cost.
    pub async fn peek(&self, check: Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        let check = check.with_purpose(Purpose::Peek(check.purpose().reservation()));
        match self {
            Self::Memory(store) => {
                check.validate()?;
                let mut decision = Decision::open(now.clamped());
                store.peek(&check, |_| true, &mut decision);
                Ok(decision)
            }
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.peek(&check, now).await,
        }
    }

    /// Takes back what `decision` consumed, for a caller that cannot use it, as if the check had not been made. `check`
    /// must be the one that was decided. Its named reservations end with [`release`](Self::release) instead.
    pub async fn undo(&self, check: Check<'_>, decision: &Decision, now: Timestamp) -> Result<(), Error> {
        if !decision.allowed {
            return Ok(());
        }
        let check = check.with_purpose(Purpose::GiveBack(decision.at.clamped()));
        match (self, decision.source) {
            #[cfg(feature = "redis")]
            (Self::Redis(store), Source::Local | Source::Open) => store.settle_alone(&check, now).map(drop),
            _ => self.settle(check, now).await.map(drop),
        }
    }

    /// Gives the cost of `check` back to each of its limits, if the window that consumed it still counts.
    /// `moment` is [`Decision::at`] of the decision that consumed it. The cost may exceed what was consumed:
    /// a counter never goes below 0.
    pub async fn refund(&self, check: Check<'_>, moment: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.settle(check.with_purpose(Purpose::GiveBack(moment.clamped())), now).await.map(drop)
    }

    /// Decides `check` and, when it is allowed, holds its cost instead of consuming it, for a cost that is known only
    /// afterwards. [`commit`](Self::commit) or [`release`](Self::release) it; after `life`, 1 ms to 1 day, it is
    /// released. Reserving again under the same name replaces the reservation.
    pub async fn reserve(
        &self,
        check: Check<'_>,
        reservation: ReservationId,
        life: Duration,
        now: Timestamp,
    ) -> Result<Decision, Error> {
        let life = life_of(life).ok_or(InvalidCheck::Life)?;
        self.check(check.with_purpose(Purpose::Reserve(reservation, life)), now).await
    }

    /// Ends a reservation and consumes the cost that `check` has now, whatever its limits say, because it
    /// was used. True when the reservation still existed. The cost is consumed in any case, so do not
    /// repeat a commit that was answered.
    pub async fn commit(&self, check: Check<'_>, reservation: ReservationId, now: Timestamp) -> Result<bool, Error> {
        self.settle(check.with_purpose(Purpose::Settle(reservation)), now).await
    }

    /// Ends a reservation on the limits of `check`: frees a slot or cancels a reservation. True when it still existed.
    pub async fn release(&self, check: Check<'_>, reservation: ReservationId, now: Timestamp) -> Result<bool, Error> {
        self.settle(check.with_cost(0).with_purpose(Purpose::Settle(reservation)), now).await
    }

    /// Extends a reservation: by `life` from now, or a slot by the limit's own life. False when it had ended.
    pub async fn renew(
        &self,
        check: Check<'_>,
        reservation: ReservationId,
        life: Duration,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let life = life_of(life).ok_or(InvalidCheck::Life)?;
        self.settle(check.with_purpose(Purpose::Renew(reservation, life)), now).await
    }

    async fn settle(&self, check: Check<'_>, now: Timestamp) -> Result<bool, Error> {
        match self {
            Self::Memory(store) => store.settle(&check, now),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.settle(&check, now).await,
        }
    }

    /// Sets every counter of `subject` to zero.
    pub async fn reset(&self, subject: Subject) -> Result<(), Error> {
        match self {
            Self::Memory(store) => {
                store.reset(subject);
                Ok(())
            }
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.reset(subject).await,
        }
    }

    /// Raises counters of fixed windows to durable totals; never lowers one. Skips a counter whose period is over.
    pub async fn raise(&self, raises: &[Raise<'_>], now: Timestamp) -> Result<(), Error> {
        match self {
            Self::Memory(store) => {
                for raise in raises {
                    store.check(
                        &Check::new(raise.subject, raise.limits).with_cost(0).with_floors(&raise.floors()),
                        now,
                    )?;
                }
                Ok(())
            }
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.raise(raises, now).await,
        }
    }

    /// Measures one round trip to the store; an error when it does not answer.
    pub async fn ping(&self) -> Result<Duration, Error> {
        match self {
            Self::Memory(_) => Ok(Duration::ZERO),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.ping().await,
        }
    }

    /// Writes every counter in memory, for [`restore`](Self::restore) after a restart. It blocks on `out`, and blocks
    /// checks only while it copies one of 256 shards.
    pub fn snapshot(&self, out: &mut dyn Write) -> Result<(), Error> {
        match self {
            Self::Memory(store) => store.snapshot(out),
            #[cfg(feature = "redis")]
            Self::Redis(_) => Err(Error::SnapshotOfSharedStore),
        }
    }

    /// Replaces the counters with those of a snapshot that still count at `now`, and returns the number of subjects
    /// that have any. After an error the store is empty and usable.
    pub fn restore(&self, from: &mut dyn Read, now: Timestamp) -> Result<u64, Error> {
        match self {
            Self::Memory(store) => store.restore(from, now),
            #[cfg(feature = "redis")]
            Self::Redis(_) => Err(Error::SnapshotOfSharedStore),
        }
    }

    /// Counts of events since the start.
    pub fn stats(&self) -> Stats {
        match self {
            Self::Memory(store) => store.stats(),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.stats(),
        }
    }
}

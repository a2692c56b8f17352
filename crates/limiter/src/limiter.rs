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

/// What the shared store is to be told in addition to the check.
#[derive(Debug)]
pub struct Undecided(#[cfg(feature = "redis")] Terms);

/// Counters and the rules to decide over them. Cloning is cheap and shares them.
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
    /// A limiter in this process.
    pub fn memory(options: &Options) -> Self {
        Self::Memory(Arc::new(MemoryStore::new(options.max_subjects)))
    }

    /// The limiter that `url` names. A Redis that is down is no error: checks are answered as their limits say until it is
    /// there. With `rediss` for `redis` each is reached over TLS, for which the process must have installed a default
    /// `rustls` crypto provider.
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

    /// Decides `check` and consumes its cost from every limit, or from none. A caller that goes away before the answer of a
    /// shared store comes has consumed nothing.
    pub async fn check(&self, check: Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        match self.begin(&check, now) {
            Progress::Done(decided) => decided,
            Progress::Waiting(undecided) => self.finish(check, undecided, now).await,
        }
    }

    /// [`check`](Self::check) as far as it goes without waiting: in memory always to the end, on a shared store where this
    /// node knows of a refusal or holds a slice. For callers to whom a future is a cost.
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

    /// The rest of what [`begin`](Self::begin) left undecided. Takes the same check.
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "without Redis nothing is left undecided"))]
    pub async fn finish(&self, check: Check<'_>, undecided: Undecided, now: Timestamp) -> Result<Decision, Error> {
        match self {
            Self::Memory(store) => store.check(&check, now),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.finish(&check, undecided.0, now).await,
        }
    }

    /// What [`check`](Self::check) would answer now: whether the cost fits and, if not, when it will. Takes and writes nothing,
    /// so its limits stand as they do without the cost.
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

    /// Takes back what `decision` consumed, for a caller that cannot make use of it: as if it had not been made. `check` is
    /// the one that was decided. What it holds by name ends with [`release`](Self::release).
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

    /// Gives the cost of `check` back to each of its limits, as far as the window it was consumed in still counts. `moment`
    /// is [`Decision::at`] of the decision that consumed it. May be more than was consumed: a counter never goes below 0.
    pub async fn refund(&self, check: Check<'_>, moment: Timestamp, now: Timestamp) -> Result<(), Error> {
        self.settle(check.with_purpose(Purpose::GiveBack(moment.clamped())), now).await.map(drop)
    }

    /// Decides `check` and, where it is allowed, holds its cost instead of consuming it, for a cost that is known only
    /// afterwards. [`commit`](Self::commit) it or [`release`](Self::release) it; after `life`, 1 ms to 1 day, it releases
    /// itself. Reserving under the same name again replaces the reservation.
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

    /// Ends a reservation and consumes the cost that `check` now has, whatever its limits say: it was used. True when the hold
    /// still was there; the cost is consumed in any case, so do not repeat a commit that was answered.
    pub async fn commit(&self, check: Check<'_>, reservation: ReservationId, now: Timestamp) -> Result<bool, Error> {
        self.settle(check.with_purpose(Purpose::Settle(reservation)), now).await
    }

    /// Ends a reservation on the limits of `check`: a slot is free again, a reservation is cancelled. True when it still was there.
    pub async fn release(&self, check: Check<'_>, reservation: ReservationId, now: Timestamp) -> Result<bool, Error> {
        self.settle(check.with_cost(0).with_purpose(Purpose::Settle(reservation)), now).await
    }

    /// Gives a reservation another life: `life` from now for a reservation, the limit's own for a slot. False when it was over.
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

    /// Raises counters of fixed windows to durable totals; never lowers one. A counter whose period is over stays as it is.
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

    /// How long the store takes to answer; an error when it does not.
    pub async fn ping(&self) -> Result<Duration, Error> {
        match self {
            Self::Memory(_) => Ok(Duration::ZERO),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.ping().await,
        }
    }

    /// Writes every counter in memory, for [`restore`](Self::restore) after a restart. Blocks on `out`, but no check for
    /// longer than it takes to copy one of 256 shards.
    pub fn snapshot(&self, out: &mut dyn Write) -> Result<(), Error> {
        match self {
            Self::Memory(store) => store.snapshot(out),
            #[cfg(feature = "redis")]
            Self::Redis(_) => Err(Error::SnapshotOfSharedStore),
        }
    }

    /// Takes over the counters of a snapshot that still count at `now`, in place of those held, and returns how many
    /// subjects have any. After an error the store is empty and usable.
    pub fn restore(&self, from: &mut dyn Read, now: Timestamp) -> Result<u64, Error> {
        match self {
            Self::Memory(store) => store.restore(from, now),
            #[cfg(feature = "redis")]
            Self::Redis(_) => Err(Error::SnapshotOfSharedStore),
        }
    }

    /// What happened since the start.
    pub fn stats(&self) -> Stats {
        match self {
            Self::Memory(store) => store.stats(),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.stats(),
        }
    }
}

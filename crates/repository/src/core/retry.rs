//! Deadlines and retries: a read runs once more when its connection died, a write when
//! another transaction was in its way.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    Error, Repository,
    core::database::{Database, Tx},
};

/// A read answers a person or fills a cache, and the caller has given up by then.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// A write may be a batch of thousands of rows on a busy disk.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// How often a write runs again after another transaction displaced it.
const WRITE_RETRIES: u32 = 3;
/// The pause before a write's first retry is random between half of this and all of it. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

impl Repository {
    /// Reads from the primary.
    pub(crate) async fn read<T, F>(&self, work: impl Fn(Database) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let outcome = match attempt(work(self.primary.clone())).await {
            Err(error) if error.is_lost_connection() => attempt(work(self.primary.clone())).await,
            outcome => outcome,
        };
        self.outages.note(&outcome);
        outcome
    }

    /// Reads that may lag: from the replica, or from the primary when there is no replica or it is down.
    pub(crate) async fn read_lagging<T, F>(&self, work: impl Fn(Database) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let Some(replica) = &self.replica else { return self.read(work).await };
        let outcome = attempt(work(replica.clone())).await;
        self.outages.note_replica(&outcome);
        match outcome {
            Err(Error::Unavailable(_)) => self.read(work).await,
            outcome => outcome,
        }
    }

    /// Several reads of the primary that see the same state. `work` must drop the transaction after its last read.
    pub(crate) async fn snapshot<T, F>(&self, work: impl Fn(Tx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        self.read(|db| async { work(begin_read_only(db).await?).await }).await
    }

    /// A transaction of the primary that only reads, all of it one state, for as long as it takes. The pool is short of its
    /// connection until it is dropped.
    pub(crate) async fn begin_snapshot(&self) -> Result<Tx, Error> {
        attempt(begin_read_only(self.primary.clone())).await
    }

    /// Several reads of the same state that may lag, from where [`Repository::read_lagging`] reads.
    pub(crate) async fn lagging_snapshot<T, F>(&self, work: impl Fn(Tx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        self.read_lagging(|db| async { work(begin_read_only(db).await?).await }).await
    }

    /// Runs a transaction. `work` begins and commits it, and may run up to four times. SQLite has one writer, so
    /// writers of this process queue here: one of them at a time waits for the file's lock, and the other
    /// connections stay free for readers.
    pub(crate) async fn write<T, F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let queue = matches!(self.primary, Database::Sqlite(_)).then_some(&*self.writer);
        self.write_queued(queue, work).await
    }

    /// The same for a transaction that takes a revision. Those run one after another in either database, so they queue
    /// here: a burst of them would otherwise wait there with all of the pool's connections.
    pub(crate) async fn write_in_turn<T, F>(&self, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.write_queued(Some(&self.writer), work).await
    }

    async fn write_queued<T, F>(&self, queue: Option<&Mutex<()>>, work: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let in_turn = || async {
            let _turn = match queue {
                Some(queue) => Some(queue.lock().await),
                None => None,
            };
            work().await
        };
        let mut retries = 0;
        loop {
            match timeout(WRITE_DEADLINE, in_turn()).await.unwrap_or_else(|_| Err(Error::deadline())) {
                Err(error) if error.is_contention() && retries < WRITE_RETRIES => {
                    sleep(pause(retries)).await;
                    retries += 1;
                }
                outcome => {
                    self.outages.note(&outcome);
                    return outcome;
                }
            }
        }
    }
}

/// A SQLite transaction sees the state at its first read; this sets PostgreSQL to do the same.
async fn begin_read_only(db: Database) -> Result<Tx, sqlx::Error> {
    Ok(match db {
        Database::Sqlite(pool) => Tx::Sqlite(pool.begin().await?),
        Database::Postgres(db) => Tx::Postgres(db.begin_snapshot().await?),
    })
}

async fn attempt<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match timeout(READ_DEADLINE, work).await {
        Ok(outcome) => outcome.map_err(Error::from),
        Err(_) => Err(Error::deadline()),
    }
}

fn pause(retries: u32) -> Duration {
    let longest = FIRST_PAUSE * 2_u32.pow(retries);
    // The longest pause when the system has no random numbers: the jitter only separates
    // writers that displaced each other.
    let share = getrandom::u32().map_or(1.0, |n| f64::from(n) / f64::from(u32::MAX));
    longest.mul_f64(0.5 + share / 2.0)
}

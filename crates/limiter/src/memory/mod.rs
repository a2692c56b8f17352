//! Counters in this process: 256 shards, one per partition, so that all subjects of a check lie behind one short lock.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::algorithm::Cell;
use crate::check::Check;
use crate::decide::{Write, decide};
use crate::decision::Decision;
use crate::error::Error;
use crate::limit::Limit;
use crate::limiter::Stats;
use crate::subject::Subject;
use crate::time::Timestamp;

type Cells = SmallVec<[Cell; 2]>;
type Shard = HashMap<[u64; 2], Cells>;

/// The memory store.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self { shards: (0..256).map(|_| Mutex::new(Shard::new())).collect() }
    }

    /// Decides and consumes under one shard's lock.
    pub(crate) fn check(&self, check: &Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        check.validate()?;
        Ok(self.decide(check, now, |_| true))
    }

    /// The same for a valid check, over those limits only that are `counted`.
    pub(crate) fn decide(&self, check: &Check<'_>, now: Timestamp, counted: impl Fn(&Limit) -> bool) -> Decision {
        let now = now.clamped();
        let mut shard = self.shard(&check.first().subject);
        let outcome = decide(check, now, counted, |part, id| {
            let subject = check.parts().nth(part)?.subject;
            shard.get(&subject.hash())?.iter().find(|cell| cell.id == id).copied()
        });
        for Write { part, cell } in outcome.writes {
            let Some(part) = check.parts().nth(part) else { continue };
            let cells = shard.entry(part.subject.hash()).or_default();
            match cells.iter_mut().find(|held| held.id == cell.id) {
                Some(held) => *held = cell,
                None => {
                    cells.retain(|held| held.until > now);
                    cells.push(cell);
                }
            }
        }
        outcome.decision
    }

    pub(crate) fn reset(&self, subject: Subject) {
        self.shard(&subject).remove(&subject.hash());
    }

    pub(crate) fn stats(&self) -> Stats {
        let subjects = self.shards.iter().map(|shard| locked(shard).len() as u64).sum();
        Stats { subjects, ..Stats::default() }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        #[expect(clippy::indexing_slicing, reason = "256 shards, and a partition is a u8")]
        locked(&self.shards[usize::from(subject.partition())])
    }
}

/// A panic elsewhere cannot leave a shard half written: writes are whole cells. So a poisoned lock is taken over.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

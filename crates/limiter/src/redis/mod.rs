//! Counters on Redis: one packed value per subject, one script call for all waiting checks, and
//! an answer while Redis is down.
mod answer;
mod batch;
mod breaker;
mod call;
mod clock;
mod connection;
mod lease;
mod local_decisions;
mod raise;
mod reply;
mod request;
mod target;

pub(crate) use request::Terms;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use answer::{Answer, Verdict};
use batch::Batcher;
use clock::Clock;
use connection::StoreConnection;
use local_decisions::LocalDecisions;
use request::{Return, StoreRequest};
use target::Target;
use tokio::time::Instant;

use crate::{
    check::{Check, Purpose},
    decision::{Decision, Source},
    error::Error,
    explain::Outcome,
    limit::{Limit, OnFailure},
    memory::MemoryStore,
    options::{Options, Stats},
    progress::Progress,
    subject::Subject,
    time::Timestamp,
};

/// A calendar period can end between two readings of the clock. Then the first answer says so,
/// and the second request is right.
const ATTEMPTS: usize = 3;
/// How often slices are checked for units to give back. After its end, the rest of a slice is missing for
/// at most this long and a call.
const GIVE_BACK_EVERY: Duration = Duration::from_millis(25);
/// When to try again after a check that could not be decided: the breaker has probed by then.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The Redis store.
#[derive(Debug)]
pub struct RedisStore {
    connection: Arc<StoreConnection>,
    batcher: Arc<Batcher>,
    clock: Arc<Clock>,
    local_decisions: Arc<LocalDecisions>,
    /// Decides while Redis is down.
    local: MemoryStore,
    exact: AtomicU64,
    degraded: AtomicU64,
    unavailable: AtomicU64,
}

impl RedisStore {
    pub(crate) async fn connect(url: &str, options: Options) -> Result<Arc<Self>, Error> {
        let target = Target::parse(url, options.root_certificate)?;
        let connection = StoreConnection::open(target, options.call_budget).await;
        let clock = Arc::new(Clock::new(options.time));
        let local_decisions = Arc::new(LocalDecisions::new(options.leases));
        let store = Arc::new(Self {
            batcher: Batcher::new(Arc::clone(&connection), Arc::clone(&local_decisions), Arc::clone(&clock)),
            connection,
            clock,
            local_decisions,
            local: MemoryStore::new(options.max_subjects),
            exact: AtomicU64::new(0),
            degraded: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        });
        tokio::spawn(give_back(Arc::downgrade(&store)));
        Ok(store)
    }

    /// This node's own decision, or else the terms on which to ask the store.
    pub(crate) fn begin(&self, check: &Check<'_>, now: Timestamp) -> Result<Progress<Decision, Terms>, Error> {
        check.validate()?;
        Ok(self.local_decisions.consult(check, self.clock.now(now.clamped())))
    }

    /// Asks the store, on the terms that [`begin`](Self::begin) gave for this check.
    pub(crate) async fn finish(&self, check: &Check<'_>, terms: Terms, now: Timestamp) -> Result<Decision, Error> {
        match self.ask(check, terms, now).await {
            Some(answer) => {
                self.exact.fetch_add(1, Ordering::Relaxed);
                let allowed = answer.verdict != Verdict::Refused;
                Ok(answer.explain(check, if allowed { Outcome::Taken } else { Outcome::Refused }))
            }
            None => self.decide_alone(check, now),
        }
    }

    /// What the store would answer, from its states alone.
    pub(crate) async fn peek(&self, check: &Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        check.validate()?;
        if let Some(answer) = self.ask(check, self.local_decisions.terms(check), now).await {
            return Ok(answer.explain(check, Outcome::Asked));
        }
        let mut decision = answer_alone(check, now).ok_or_else(unavailable)?;
        self.local.peek(check, is_local, &mut decision);
        Ok(decision)
    }

    /// Redis' answer; None when Redis is down.
    async fn ask(&self, check: &Check<'_>, mut terms: Terms, now: Timestamp) -> Option<Answer> {
        let now = now.clamped();
        for _ in 0..ATTEMPTS {
            let around = self.clock.now(now);
            let terms = std::mem::take(&mut terms);
            let answer = self.batcher.ask(StoreRequest::new(check, terms, self.clock.told(now), around)).await?;
            if answer.verdict != Verdict::Stale {
                return Some(answer);
            }
        }
        None
    }

    /// The answer that each limit's `on_failure` prescribes.
    fn decide_alone(&self, check: &Check<'_>, now: Timestamp) -> Result<Decision, Error> {
        let Some(mut decision) = answer_alone(check, now) else {
            self.unavailable.fetch_add(1, Ordering::Relaxed);
            return Err(unavailable());
        };
        self.degraded.fetch_add(1, Ordering::Relaxed);
        self.local.decide(check, is_local, &mut decision);
        Ok(decision)
    }

    /// Ends, extends or gives back what was consumed while Redis was down.
    pub(crate) fn settle_alone(&self, check: &Check<'_>, now: Timestamp) -> Result<bool, Error> {
        self.local.settle(check, now)
    }

    pub(crate) async fn reset(&self, subject: Subject) -> Result<(), Error> {
        self.local.reset(subject);
        let mut command = redis::cmd("UNLINK");
        command.arg(call::key(&subject));
        let done = self.connection.call(&command).await.map(drop).map_err(|_| unavailable());
        // After the call, so that no answer from before the reset counts as current.
        self.local_decisions.reset(&subject);
        done
    }

    /// Ends, extends or gives back earlier consumption. While Redis is down this is an error and not repeated, because
    /// reservations end by themselves.
    pub(crate) async fn settle(&self, check: &Check<'_>, now: Timestamp) -> Result<bool, Error> {
        check.validate()?;
        let mut terms = Terms::default();
        let mut check = *check;
        if let Purpose::GiveBack(consumed_at) = check.purpose() {
            terms.returns.push(Return { amount: check.cost(), consumed_at });
            check = check.with_cost(0).with_purpose(Purpose::Consume);
        }
        let answer = self.ask(&check, terms, now).await.ok_or_else(unavailable)?;
        Ok(answer.verdict != Verdict::Refused)
    }

    pub(crate) async fn ping(&self) -> Result<Duration, Error> {
        let started = Instant::now();
        self.connection.call(&redis::cmd("PING")).await.map_err(|_| unavailable())?;
        Ok(started.elapsed())
    }

    pub(crate) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            exact: read(&self.exact),
            refused_locally: read(&self.local_decisions.refused),
            leased: read(&self.local_decisions.leased),
            degraded: read(&self.degraded),
            unavailable: read(&self.unavailable),
            calls: read(&self.batcher.calls),
            failed_calls: read(&self.batcher.failed_calls),
            breaker_opens: self.connection.breaker().opens(),
            breaker_open: self.connection.is_closed(),
            fault: self.connection.fault(),
            ..self.local.stats()
        }
    }
}

/// The open decision on a check while Redis is down; None when a limit fails then.
fn answer_alone(check: &Check<'_>, now: Timestamp) -> Option<Decision> {
    let policies = || check.parts().flat_map(|part| part.limits).map(Limit::on_failure);
    if policies().any(|policy| policy == OnFailure::Deny) {
        return None;
    }
    let source = if policies().any(|policy| policy == OnFailure::Local) { Source::Local } else { Source::Open };
    Some(Decision { degraded: true, source, ..Decision::open(now.clamped()) })
}

/// Whether this node counts the limit while Redis is down.
fn is_local(limit: &Limit) -> bool {
    limit.on_failure() == OnFailure::Local
}

fn unavailable() -> Error {
    Error::Unavailable { retry_after: TRY_AGAIN }
}

/// Gives back the rest of ended slices, until the store is dropped.
async fn give_back(store: Weak<RedisStore>) {
    loop {
        tokio::time::sleep(GIVE_BACK_EVERY).await;
        let Some(store) = store.upgrade() else { return };
        let now = store.clock.idle_now();
        for request in store.local_decisions.overdue(now, store.clock.told(now)) {
            store.batcher.tell(request);
        }
    }
}

//! The jobs of one priority that this process has leased, from the moment the store hands them out until it has
//! confirmed their end.
//!
//! A job's end is kept here and not in the worker, so that it reaches the store whatever happens to the worker: at
//! once, after an outage, or in the last step of a graceful stop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::record::{LeasedJob, Settlement, Verdict};

pub(crate) struct Leases {
    /// Most jobs held at once: running, about to run, or with an end that the store has not confirmed.
    capacity: usize,
    state: Mutex<State>,
    /// Wakes the task that sends settlements.
    settled: Notify,
    /// The worker to wake when there is room.
    room: AtomicWaker,
    /// Cancels everything that runs, when the drain takes too long or the run is dropped.
    halt: CancellationToken,
}

#[derive(Default)]
struct State {
    leases: HashMap<String, Lease>,
    /// When set, no job is taken or started.
    closed: bool,
}

struct Lease {
    /// Proves the lease to the store.
    token: Arc<str>,
    /// The token that the job had when the worker got it. It differs from `token` when the lease ran out during an
    /// outage and this process leased the job again.
    handed: Arc<str>,
    stage: Stage,
    /// Cancelled when another process holds the lease, so that both run the job only for a moment.
    lost: CancellationToken,
}

enum Stage {
    Taken,
    Running,
    Settled(Verdict),
}

impl Leases {
    pub(crate) fn new(capacity: usize, halt: CancellationToken) -> Self {
        Self { capacity, state: Mutex::default(), settled: Notify::new(), room: AtomicWaker::new(), halt }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more jobs may be leased now.
    pub(crate) fn free(&self) -> usize {
        let state = self.state();
        if state.closed { 0 } else { self.capacity.saturating_sub(state.leases.len()) }
    }

    /// Wakes `waker` when there is room again.
    pub(crate) fn wake_on_room(&self, waker: &Waker) {
        self.room.register(waker);
    }

    /// Takes the jobs that the store has leased to this process, or gives them back at once when it is closing. A job
    /// that it already holds continues under the new lease: it does not run again, and its end is still sent.
    pub(crate) fn took(&self, jobs: &[LeasedJob]) {
        let mut state = self.state();
        let closed = state.closed;
        for job in jobs {
            let token = Arc::clone(&job.token);
            if let Some(lease) = state.leases.get_mut(&job.id) {
                lease.token = token;
                continue;
            }
            let stage = if closed { Stage::Settled(Verdict::GiveBack) } else { Stage::Taken };
            let lease = Lease { handed: Arc::clone(&token), token, stage, lost: self.halt.child_token() };
            state.leases.insert(job.id.clone(), lease);
        }
        drop(state);
        self.settled.notify_one();
    }

    /// Begins a job and returns the token that is cancelled when the job must end. `None` when it is already running,
    /// or was given back or lost before it began.
    pub(crate) fn start(&self, job: &LeasedJob) -> Option<CancellationToken> {
        let mut state = self.state();
        let lease = state.leases.get_mut(&job.id).filter(|lease| lease.handed == job.token)?;
        if !matches!(lease.stage, Stage::Taken) {
            return None;
        }
        lease.stage = Stage::Running;
        Some(lease.lost.clone())
    }

    /// Ends a job. Does nothing when its lease was lost.
    pub(crate) fn settle(&self, job: &LeasedJob, verdict: Verdict) {
        if let Some(lease) = self.state().leases.get_mut(&job.id).filter(|lease| lease.handed == job.token) {
            lease.stage = Stage::Settled(verdict);
        }
        self.settled.notify_one();
    }

    /// Gives back the jobs that have not begun, because the worker that was to run them is gone.
    pub(crate) fn give_back_taken(&self) {
        for lease in self.state().leases.values_mut() {
            if matches!(lease.stage, Stage::Taken) {
                lease.stage = Stage::Settled(Verdict::GiveBack);
            }
        }
        self.settled.notify_one();
    }

    /// From now on nothing is taken or started.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.give_back_taken();
    }

    /// Gives back everything that has not ended.
    pub(crate) fn give_back_all(&self) {
        for lease in self.state().leases.values_mut() {
            if !matches!(lease.stage, Stage::Settled(_)) {
                lease.stage = Stage::Settled(Verdict::GiveBack);
            }
        }
    }

    /// Waits until there may be a settlement to send.
    pub(crate) async fn settled(&self) {
        self.settled.notified().await;
    }

    /// Makes [`Leases::settled`] return.
    pub(crate) fn notify_settled(&self) {
        self.settled.notify_one();
    }

    /// The ends of jobs that the store does not know yet.
    pub(crate) fn settlements(&self) -> Vec<Settlement> {
        let state = self.state();
        let settled = state.leases.iter().filter_map(|(id, lease)| match &lease.stage {
            Stage::Settled(verdict) => {
                Some(Settlement { id: id.clone(), token: Arc::clone(&lease.token), verdict: verdict.clone() })
            }
            Stage::Taken | Stage::Running => None,
        });
        settled.collect()
    }

    /// Forgets these settlements, which the store has confirmed.
    pub(crate) fn confirmed(&self, settlements: &[Settlement]) {
        let mut state = self.state();
        for Settlement { id, token, .. } in settlements {
            if state.leases.get(id).is_some_and(|lease| lease.token == *token) {
                state.leases.remove(id);
            }
        }
        drop(state);
        self.room.wake();
    }

    /// All (id, token) pairs to renew, including those of settled jobs until the store has confirmed their end.
    pub(crate) fn tokens(&self) -> Vec<(String, Arc<str>)> {
        self.state().leases.iter().map(|(id, lease)| (id.clone(), Arc::clone(&lease.token))).collect()
    }

    /// Cuts short the jobs in `ids` that still run under these `tokens`, because other processes hold them now.
    pub(crate) fn lose(&self, tokens: &[(String, Arc<str>)], ids: &[String]) {
        let mut state = self.state();
        for (id, token) in tokens.iter().filter(|(id, _)| ids.contains(id)) {
            if state.leases.get(id).is_some_and(|lease| lease.token == *token)
                && let Some(lease) = state.leases.remove(id)
            {
                lease.lost.cancel();
            }
        }
        drop(state);
        self.room.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leased(id: &str, token: &str) -> LeasedJob {
        LeasedJob { id: id.to_owned(), body: vec![], attempts: 0, max_attempts: 3, token: token.into() }
    }

    fn ends(leases: &Leases) -> Vec<(String, Verdict)> {
        let mut ends: Vec<_> = leases.settlements().into_iter().map(|end| (end.id, end.verdict)).collect();
        ends.sort_by(|a, b| a.0.cmp(&b.0));
        ends
    }

    #[test]
    fn closing_gives_back_what_has_not_begun_and_what_comes_later() {
        let leases = Leases::new(8, CancellationToken::new());
        let (begun, waiting, late) = (leased("begun", "1"), leased("waiting", "1"), leased("late", "2"));
        leases.took(&[begun.clone(), waiting.clone()]);
        let lost = leases.start(&begun).unwrap();
        leases.close();
        assert_eq!(leases.free(), 0);
        leases.took(std::slice::from_ref(&late));
        assert!(leases.start(&waiting).is_none() && leases.start(&late).is_none());
        let given_back = |id: &str| (id.to_owned(), Verdict::GiveBack);
        assert_eq!(ends(&leases), [given_back("late"), given_back("waiting")]);
        assert!(!lost.is_cancelled(), "what runs may finish");
        leases.settle(&begun, Verdict::Done);
        leases.give_back_all();
        assert!(ends(&leases).contains(&("begun".to_owned(), Verdict::Done)), "an end stands");
    }

    #[test]
    fn a_lease_that_was_lost_ends_its_job_and_a_late_end_changes_nothing() {
        let leases = Leases::new(1, CancellationToken::new());
        let (first, later) = (leased("job", "1"), leased("job", "2"));
        leases.took(std::slice::from_ref(&first));
        let lost = leases.start(&first).unwrap();
        leases.lose(&leases.tokens(), &["job".to_owned()]);
        assert!(lost.is_cancelled());
        assert_eq!((leases.free(), leases.tokens().len()), (1, 0));
        leases.took(std::slice::from_ref(&later));
        leases.settle(&first, Verdict::Done);
        assert_eq!(ends(&leases), []);
    }

    #[test]
    fn a_job_that_is_leased_again_while_it_is_held_goes_on_and_its_end_is_sent_under_the_new_lease() {
        let leases = Leases::new(1, CancellationToken::new());
        let (first, again, third) = (leased("job", "1"), leased("job", "2"), leased("job", "3"));
        leases.took(std::slice::from_ref(&first));
        let lost = leases.start(&first).unwrap();
        let before = leases.tokens();
        leases.took(std::slice::from_ref(&again));
        leases.lose(&before, &["job".to_owned()]);
        assert!(leases.start(&again).is_none() && !lost.is_cancelled(), "it is not run twice");
        leases.settle(&first, Verdict::Done);
        let unconfirmed = leases.settlements();
        leases.took(std::slice::from_ref(&third));
        leases.confirmed(&unconfirmed);
        let [end] = &leases.settlements()[..] else { panic!("the store has heard of the old lease only") };
        assert_eq!((&*end.token, &end.verdict), ("3", &Verdict::Done));
    }

    #[test]
    fn there_is_room_again_only_when_the_store_has_confirmed() {
        let leases = Leases::new(2, CancellationToken::new());
        let job = leased("job", "1");
        leases.took(std::slice::from_ref(&job));
        leases.settle(&job, Verdict::Done);
        assert_eq!((leases.free(), leases.tokens().len()), (1, 1));
        leases.confirmed(&leases.settlements());
        assert_eq!((leases.free(), leases.tokens().len()), (2, 0));
    }
}

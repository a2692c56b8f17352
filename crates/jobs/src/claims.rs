//! What this process has leased of one priority, from the moment a job is taken until its end is confirmed by the store.
//!
//! A job's end stands here, not in the worker, so that it reaches the store whatever becomes of the worker: sent at once,
//! again after an outage, and in the last step of a graceful stop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::{Claimed, Settlement, Verdict};

pub(crate) struct Claims {
    /// Most jobs held at once: what runs, what is about to, and what waits for its confirmation.
    capacity: usize,
    held: Mutex<Held>,
    /// A settlement waits to be sent.
    settled: Notify,
    /// The worker that asks for more, to be woken when there is room.
    room: AtomicWaker,
    /// Cut short with everything that runs when the drain takes too long, or the run is dropped.
    halt: CancellationToken,
}

#[derive(Default)]
struct Held {
    claims: HashMap<String, Claim>,
    /// Nothing new is started.
    closed: bool,
}

struct Claim {
    /// Proves the lease to the store.
    token: Arc<str>,
    /// The token with which the job was handed to the worker: an older one when the lease ran out during an outage and
    /// this process got it again.
    handed: Arc<str>,
    stage: Stage,
    /// Cancelled when another holds the lease, so that no two run the job for long.
    lost: CancellationToken,
}

enum Stage {
    Taken,
    Running,
    Settled(Verdict),
}

impl Claims {
    pub(crate) fn new(capacity: usize, halt: CancellationToken) -> Self {
        Self { capacity, held: Mutex::default(), settled: Notify::new(), room: AtomicWaker::new(), halt }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more may be taken now.
    pub(crate) fn free(&self) -> usize {
        let held = self.held();
        if held.closed { 0 } else { self.capacity.saturating_sub(held.claims.len()) }
    }

    /// Wakes `waker` when there is room again.
    pub(crate) fn wake_on_room(&self, waker: &Waker) {
        self.room.register(waker);
    }

    /// Jobs the store has leased to this process. Given back at once when it is closing. One that is held already goes on
    /// where it is, under the new lease: it is not run again, and an end not sent yet is sent.
    pub(crate) fn took(&self, jobs: &[Claimed]) {
        let mut held = self.held();
        let closed = held.closed;
        for job in jobs {
            let token = Arc::clone(&job.token);
            if let Some(claim) = held.claims.get_mut(&job.id) {
                claim.token = token;
                continue;
            }
            let stage = if closed { Stage::Settled(Verdict::GiveBack) } else { Stage::Taken };
            let claim = Claim { handed: Arc::clone(&token), token, stage, lost: self.halt.child_token() };
            held.claims.insert(job.id.clone(), claim);
        }
        drop(held);
        self.settled.notify_one();
    }

    /// Begins a job: what tells that it must end. `None` when it runs already, or was given back or lost before it began.
    pub(crate) fn start(&self, job: &Claimed) -> Option<CancellationToken> {
        let mut held = self.held();
        let claim = held.claims.get_mut(&job.id).filter(|claim| claim.handed == job.token)?;
        if !matches!(claim.stage, Stage::Taken) {
            return None;
        }
        claim.stage = Stage::Running;
        Some(claim.lost.clone())
    }

    /// Ends a job. Passed over when its lease was lost.
    pub(crate) fn settle(&self, job: &Claimed, verdict: Verdict) {
        if let Some(claim) = self.held().claims.get_mut(&job.id).filter(|claim| claim.handed == job.token) {
            claim.stage = Stage::Settled(verdict);
        }
        self.settled.notify_one();
    }

    /// Gives back what has not begun: the worker that was to run it is gone.
    pub(crate) fn give_back_taken(&self) {
        for claim in self.held().claims.values_mut() {
            if matches!(claim.stage, Stage::Taken) {
                claim.stage = Stage::Settled(Verdict::GiveBack);
            }
        }
        self.settled.notify_one();
    }

    /// Takes and starts nothing more.
    pub(crate) fn close(&self) {
        self.held().closed = true;
        self.give_back_taken();
    }

    /// Gives back all that has not ended.
    pub(crate) fn give_back_all(&self) {
        for claim in self.held().claims.values_mut() {
            if !matches!(claim.stage, Stage::Settled(_)) {
                claim.stage = Stage::Settled(Verdict::GiveBack);
            }
        }
    }

    /// Waits until a settlement may be there to send.
    pub(crate) async fn settled(&self) {
        self.settled.notified().await;
    }

    /// Makes [`Claims::settled`] return, for what could not be sent.
    pub(crate) fn give_notice(&self) {
        self.settled.notify_one();
    }

    /// What is to be sent to the store.
    pub(crate) fn settlements(&self) -> Vec<Settlement> {
        let held = self.held();
        let settled = held.claims.iter().filter_map(|(id, claim)| match &claim.stage {
            Stage::Settled(verdict) => {
                Some(Settlement { id: id.clone(), token: Arc::clone(&claim.token), verdict: verdict.clone() })
            }
            Stage::Taken | Stage::Running => None,
        });
        settled.collect()
    }

    /// The store has confirmed these.
    pub(crate) fn confirmed(&self, settlements: &[Settlement]) {
        let mut held = self.held();
        for Settlement { id, token, .. } in settlements {
            if held.claims.get(id).is_some_and(|claim| claim.token == *token) {
                held.claims.remove(id);
            }
        }
        drop(held);
        self.room.wake();
    }

    /// All leases, to be prolonged: those of settled jobs too, until the store knows.
    pub(crate) fn leases(&self) -> Vec<(String, Arc<str>)> {
        self.held().claims.iter().map(|(id, claim)| (id.clone(), Arc::clone(&claim.token))).collect()
    }

    /// Others hold the leases of `ids` among `leases`: whatever still runs of them is cut short.
    pub(crate) fn lose(&self, leases: &[(String, Arc<str>)], ids: &[String]) {
        let mut held = self.held();
        for (id, token) in leases.iter().filter(|(id, _)| ids.contains(id)) {
            if held.claims.get(id).is_some_and(|claim| claim.token == *token)
                && let Some(claim) = held.claims.remove(id)
            {
                claim.lost.cancel();
            }
        }
        drop(held);
        self.room.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(id: &str, token: &str) -> Claimed {
        Claimed { id: id.to_owned(), body: vec![], attempts: 0, max_attempts: 3, token: token.into() }
    }

    fn ends(claims: &Claims) -> Vec<(String, Verdict)> {
        let mut ends: Vec<_> = claims.settlements().into_iter().map(|end| (end.id, end.verdict)).collect();
        ends.sort_by(|a, b| a.0.cmp(&b.0));
        ends
    }

    #[test]
    fn closing_gives_back_what_has_not_begun_and_what_comes_later() {
        let claims = Claims::new(8, CancellationToken::new());
        let (begun, waiting, late) = (claimed("begun", "1"), claimed("waiting", "1"), claimed("late", "2"));
        claims.took(&[begun.clone(), waiting.clone()]);
        let lost = claims.start(&begun).unwrap();
        claims.close();
        assert_eq!(claims.free(), 0);
        claims.took(std::slice::from_ref(&late));
        assert!(claims.start(&waiting).is_none() && claims.start(&late).is_none());
        let given_back = |id: &str| (id.to_owned(), Verdict::GiveBack);
        assert_eq!(ends(&claims), [given_back("late"), given_back("waiting")]);
        assert!(!lost.is_cancelled(), "what runs may finish");
        claims.settle(&begun, Verdict::Done);
        claims.give_back_all();
        assert!(ends(&claims).contains(&("begun".to_owned(), Verdict::Done)), "an end stands");
    }

    #[test]
    fn a_lease_that_was_lost_ends_its_job_and_a_late_end_changes_nothing() {
        let claims = Claims::new(1, CancellationToken::new());
        let (first, later) = (claimed("job", "1"), claimed("job", "2"));
        claims.took(std::slice::from_ref(&first));
        let lost = claims.start(&first).unwrap();
        claims.lose(&claims.leases(), &["job".to_owned()]);
        assert!(lost.is_cancelled());
        assert_eq!((claims.free(), claims.leases().len()), (1, 0));
        claims.took(std::slice::from_ref(&later));
        claims.settle(&first, Verdict::Done);
        assert_eq!(ends(&claims), []);
    }

    #[test]
    fn a_job_that_is_leased_anew_while_it_is_held_goes_on_and_its_end_is_sent_under_the_new_lease() {
        let claims = Claims::new(1, CancellationToken::new());
        let (first, again, third) = (claimed("job", "1"), claimed("job", "2"), claimed("job", "3"));
        claims.took(std::slice::from_ref(&first));
        let lost = claims.start(&first).unwrap();
        let before = claims.leases();
        claims.took(std::slice::from_ref(&again));
        claims.lose(&before, &["job".to_owned()]);
        assert!(claims.start(&again).is_none() && !lost.is_cancelled(), "it is not run twice");
        claims.settle(&first, Verdict::Done);
        let unconfirmed = claims.settlements();
        claims.took(std::slice::from_ref(&third));
        claims.confirmed(&unconfirmed);
        let [end] = &claims.settlements()[..] else { panic!("the store has heard of the old lease only") };
        assert_eq!((&*end.token, &end.verdict), ("3", &Verdict::Done));
    }

    #[test]
    fn there_is_room_again_only_when_the_store_has_confirmed() {
        let claims = Claims::new(2, CancellationToken::new());
        let job = claimed("job", "1");
        claims.took(std::slice::from_ref(&job));
        claims.settle(&job, Verdict::Done);
        assert_eq!((claims.free(), claims.leases().len()), (1, 1));
        claims.confirmed(&claims.settlements());
        assert_eq!((claims.free(), claims.leases().len()), (2, 0));
    }
}

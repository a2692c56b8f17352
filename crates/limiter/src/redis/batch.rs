//! Concurrent checks share round trips: a call takes along all checks that wait when it leaves,
//! and no check waits for others.
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use redis::{Cmd, Script, Value};
use tokio::{sync::oneshot, time::Instant};

use super::{
    answer::Answer,
    call::write_call,
    clock::Clock,
    connection::{Fault, StoreConnection},
    local_decisions::LocalDecisions,
    reply::read_reply,
    request::StoreRequest,
};

/// Four files, one script: its arguments, the rules of logs, the rules for all checks, and the
/// checks, each by its shortest way.
const SCRIPT: &str = concat!(
    include_str!("script/policies.lua"),
    include_str!("script/logs.lua"),
    include_str!("script/rules.lua"),
    include_str!("script/checks.lua")
);
/// Checks in one call. A call costs the server some 35 µs in addition to its checks, so a check in a batch of 128 is a
/// tenth cheaper than in one of 64. A larger batch saves little, and its call (0.3 ms) would hold up other nodes.
const MAX_CHECKS: usize = 128;
/// Calls that leave with any number of checks. More of them would be smaller, and a call costs the
/// server as much as ten checks.
const EAGER_CALLS: usize = 1;
/// The same for a cluster, where a call covers one partition only and calls go to several servers.
const EAGER_CLUSTER_CALLS: usize = 16;
/// Calls in flight at once. Beyond the eager ones, calls leave only with a full batch.
const MAX_CALLS: usize = 8;
const MAX_CLUSTER_CALLS: usize = 64;
/// Rounds of the scheduler before a call leaves: some microseconds when other tasks are ready, otherwise none.
const YIELDS: usize = 3;

/// Checks that wait for a call, and the number of calls in flight.
#[derive(Debug)]
pub(super) struct Batcher {
    connection: Arc<StoreConnection>,
    local_decisions: Arc<LocalDecisions>,
    clock: Arc<Clock>,
    script: Script,
    queue: Mutex<Queue>,
    pub(super) calls: AtomicU64,
    pub(super) failed_calls: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    calls: usize,
}

#[derive(Debug)]
struct Waiting {
    request: StoreRequest,
    /// None when nobody waits for the answer.
    answer: Option<oneshot::Sender<Answer>>,
}

impl Batcher {
    pub(super) fn new(
        connection: Arc<StoreConnection>,
        local_decisions: Arc<LocalDecisions>,
        clock: Arc<Clock>,
    ) -> Arc<Self> {
        let script = Script::new(SCRIPT);
        let (calls, failed_calls) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { connection, local_decisions, clock, script, queue: Mutex::default(), calls, failed_calls })
    }

    /// The store's answer; None when the store is down.
    pub(super) async fn ask(self: &Arc<Self>, request: StoreRequest) -> Option<Answer> {
        if self.connection.is_closed() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.enqueue(Waiting { request, answer: Some(answer) });
        answered.await.ok()
    }

    /// Sends a request to the store without waiting for its answer.
    pub(super) fn tell(self: &Arc<Self>, request: StoreRequest) {
        if !self.connection.is_closed() {
            self.enqueue(Waiting { request, answer: None });
        }
    }

    /// Queues a request, and starts a call when one may leave.
    fn enqueue(self: &Arc<Self>, waiting: Waiting) {
        let mut queue = self.queue();
        queue.waiting.push_back(waiting);
        let full = queue.waiting.len() >= MAX_CHECKS;
        let (eager, most) = self.calls_at_once();
        if queue.calls < if full { most } else { eager } {
            queue.calls += 1;
            tokio::spawn(Turn(Some(Arc::clone(self))).run());
        }
    }

    /// The batch of the next call: up to 128 checks of one moment, and of one partition in a cluster. None
    /// ends the caller's turn. It ends in the same step that finds too few checks waiting, so the next
    /// check starts a turn of its own.
    fn load(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let enough = if queue.calls > self.calls_at_once().0 { MAX_CHECKS } else { 1 };
        if queue.waiting.len() < enough {
            queue.calls = queue.calls.saturating_sub(1);
            return None;
        }
        let first = queue.waiting.front().map(|first| (first.request.now, first.request.partition()));
        if self.connection.is_cluster() {
            let alike = |waiting: &Waiting| Some((waiting.request.now, waiting.request.partition())) == first;
            let (mut load, mut rest) = (Vec::new(), VecDeque::with_capacity(queue.waiting.len()));
            for waiting in queue.waiting.drain(..) {
                if load.len() < MAX_CHECKS && alike(&waiting) { load.push(waiting) } else { rest.push_back(waiting) }
            }
            queue.waiting = rest;
            return Some(load);
        }
        let now = first.and_then(|(now, _)| now);
        let alike = queue.waiting.iter().take(MAX_CHECKS).take_while(|next| next.request.now == now).count();
        Some(queue.waiting.drain(..alike).collect())
    }

    /// How many calls leave with any number of checks, and how many are in flight at most.
    fn calls_at_once(&self) -> (usize, usize) {
        if self.connection.is_cluster() { (EAGER_CLUSTER_CALLS, MAX_CLUSTER_CALLS) } else { (EAGER_CALLS, MAX_CALLS) }
    }

    /// Makes one call for `load`. A caller without an answer finds its sender dropped.
    async fn call(&self, load: Vec<Waiting>) {
        let requests: Vec<&StoreRequest> = load.iter().map(|waiting| &waiting.request).collect();
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.run_script(&requests).await {
            Some(answers) => {
                for (waiting, mut answer) in load.into_iter().zip(answers) {
                    // Not where the caller waits, because a caller that goes away must not lose a slice.
                    self.local_decisions.learn(&waiting.request, &mut answer);
                    let unheard = waiting.answer.and_then(|caller| caller.send(answer).err());
                    // The caller has gone away and cannot use what was taken, so it is given back.
                    if let Some(request) = unheard.and_then(|answer| waiting.request.undone(&answer)) {
                        self.queue().waiting.push_back(Waiting { request, answer: None });
                    }
                }
            }
            None => {
                self.failed_calls.fetch_add(1, Ordering::Relaxed);
                // Checks that waited behind a failed call have waited long enough.
                self.queue().waiting.clear();
            }
        }
    }

    async fn run_script(&self, requests: &[&StoreRequest]) -> Option<Vec<Answer>> {
        let sent = Instant::now();
        let mut reply = self.connection.call(&self.command("EVALSHA", self.script.get_hash(), requests)).await;
        if reply.as_ref().is_err_and(Fault::is_no_script) {
            reply = self.connection.call(&self.command("EVAL", SCRIPT, requests)).await;
        }
        match reply {
            Ok(Value::BulkString(bytes)) => {
                let answers = read_reply(&bytes, requests)?;
                self.clock.learn(answers.first()?.now, sent);
                Some(answers)
            }
            Ok(other) => {
                tracing::error!(reply = ?other, "limiter store: cannot parse the script's reply; answering without it");
                None
            }
            Err(fault) => {
                tracing::debug!(?fault, "limiter store: a call failed; answering without it");
                None
            }
        }
    }

    fn command(&self, name: &str, script: &str, requests: &[&StoreRequest]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script);
        write_call(&mut command, requests);
        command
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of one call in flight. A panic also ends it.
struct Turn(Option<Arc<Batcher>>);

impl Turn {
    async fn run(mut self) {
        while let Some(batcher) = &self.0 {
            // Lets every ready task add its check before the call leaves. Tasks that the last reply woke may be
            // in the queues of other threads.
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
            match batcher.load() {
                Some(load) => batcher.call(load).await,
                None => self.0 = None,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(batcher) = &self.0 {
            let mut queue = batcher.queue();
            queue.calls = queue.calls.saturating_sub(1);
        }
    }
}

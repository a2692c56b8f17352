//! Concurrent checks share round trips: what waits when a call leaves goes with it, and nothing waits for company.
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

/// Four files, one script: what it is told, the rules of logs, the rules for all, and the checks by the shortest way each.
const SCRIPT: &str = concat!(
    include_str!("script/policies.lua"),
    include_str!("script/logs.lua"),
    include_str!("script/rules.lua"),
    include_str!("script/checks.lua")
);
/// Checks in one call. A call costs the server some 35 µs apart from its checks, so that 128 are a tenth cheaper than 64, each;
/// past this little is saved, and a call (0.3 ms) starts to hold up other nodes.
const MAX_CHECKS: usize = 128;
/// Calls that leave with whatever waits. More in flight would be smaller: a call costs the server as much as ten checks.
const EAGER_CALLS: usize = 1;
/// The same for a cluster, where a call is for one partition only and calls go to several servers.
const EAGER_CLUSTER_CALLS: usize = 16;
/// Calls under way at once; all but the eager ones leave with a full load only.
const MAX_CALLS: usize = 8;
const MAX_CLUSTER_CALLS: usize = 64;
/// Rounds of the scheduler before a call leaves: some microseconds when there is something to run, else none.
const YIELDS: usize = 3;

/// Checks that wait for a call, and the calls under way.
#[derive(Debug)]
pub(super) struct Batcher {
    link: Arc<StoreConnection>,
    front: Arc<LocalDecisions>,
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
    /// None: nobody waits for the answer.
    answer: Option<oneshot::Sender<Answer>>,
}

impl Batcher {
    pub(super) fn new(link: Arc<StoreConnection>, front: Arc<LocalDecisions>, clock: Arc<Clock>) -> Arc<Self> {
        let script = Script::new(SCRIPT);
        let (calls, failed_calls) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { link, front, clock, script, queue: Mutex::default(), calls, failed_calls })
    }

    /// The store's answer; None when the store cannot be asked.
    pub(super) async fn ask(self: &Arc<Self>, request: StoreRequest) -> Option<Answer> {
        if self.link.is_closed() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.enqueue(Waiting { request, answer: Some(answer) });
        answered.await.ok()
    }

    /// Tells the store something without waiting for what it says.
    pub(super) fn tell(self: &Arc<Self>, request: StoreRequest) {
        if !self.link.is_closed() {
            self.enqueue(Waiting { request, answer: None });
        }
    }

    /// Puts a question into the queue, and starts a call when one may leave.
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

    /// What goes with the next call: up to 128 checks of one moment, and of one partition in a cluster. None ends the
    /// caller's turn, in the same step in which too little was found waiting, so that whoever comes next starts a turn of
    /// its own.
    fn load(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let enough = if queue.calls > self.calls_at_once().0 { MAX_CHECKS } else { 1 };
        if queue.waiting.len() < enough {
            queue.calls = queue.calls.saturating_sub(1);
            return None;
        }
        let first = queue.waiting.front().map(|first| (first.request.now, first.request.partition()));
        if self.link.is_cluster() {
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

    /// How many calls leave with whatever waits, and how many at most.
    fn calls_at_once(&self) -> (usize, usize) {
        if self.link.is_cluster() { (EAGER_CLUSTER_CALLS, MAX_CLUSTER_CALLS) } else { (EAGER_CALLS, MAX_CALLS) }
    }

    /// One call for `load`. Whoever is not answered finds the sender dropped.
    async fn call(&self, load: Vec<Waiting>) {
        let requests: Vec<&StoreRequest> = load.iter().map(|waiting| &waiting.request).collect();
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.run_script(&requests).await {
            Some(answers) => {
                for (waiting, mut answer) in load.into_iter().zip(answers) {
                    // Here and not where the caller waits: a caller that goes away must not lose a slice.
                    self.front.learn(&waiting.request, &mut answer);
                    let unheard = waiting.answer.and_then(|caller| caller.send(answer).err());
                    // The caller has gone away: nobody makes use of what was taken.
                    if let Some(request) = unheard.and_then(|answer| waiting.request.undone(&answer)) {
                        self.queue().waiting.push_back(Waiting { request, answer: None });
                    }
                }
            }
            None => {
                self.failed_calls.fetch_add(1, Ordering::Relaxed);
                // Who waited behind a call that failed has waited long enough.
                self.queue().waiting.clear();
            }
        }
    }

    async fn run_script(&self, requests: &[&StoreRequest]) -> Option<Vec<Answer>> {
        let sent = Instant::now();
        let mut reply = self.link.call(&self.command("EVALSHA", self.script.get_hash(), requests)).await;
        if reply.as_ref().is_err_and(Fault::is_no_script) {
            reply = self.link.call(&self.command("EVAL", SCRIPT, requests)).await;
        }
        match reply {
            Ok(Value::BulkString(bytes)) => {
                let answers = read_reply(&bytes, requests)?;
                self.clock.learn(answers.first()?.now, sent);
                Some(answers)
            }
            Ok(other) => {
                tracing::error!(reply = ?other, "limiter store: the script's reply is of an unknown shape");
                None
            }
            Err(fault) => {
                tracing::debug!(?fault, "limiter store: a call failed");
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

/// The turn of one of the calls under way. A turn that ends by a panic is given back too.
struct Turn(Option<Arc<Batcher>>);

impl Turn {
    async fn run(mut self) {
        while let Some(batcher) = &self.0 {
            // Every task that can run now gets to add its check before the call leaves; what the last reply woke may lie
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

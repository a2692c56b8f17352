//! The connections of one server: which new ones it admits, which idle ones it closes to make room, and the sweeper
//! that closes those that stay in one phase for too long.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use tokio::{task::AbortHandle, time::sleep};

use crate::{
    connection::{Connection, Phase, Shared, is_new, phase},
    limits::Limits,
    observer::ConnectionObserver,
    turned_away::Tally,
};

/// How often a draining server looks for connections that became idle.
const DRAIN_TICK: Duration = Duration::from_millis(10);
/// A search for idle connections reads all of them, so it keeps more than the one it needs now: at least
/// this many, and a share of all.
const LEAST_KEPT: usize = 64;
const SHARE_KEPT: usize = 64;

pub(crate) struct Connections {
    limits: Limits,
    /// Networks of proxies, whose addresses carry many clients' requests.
    exempt: Vec<IpNet>,
    observer: Box<dyn ConnectionObserver>,
    shared: Arc<Shared>,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    next_id: u64,
    open: HashMap<u64, Entry>,
    /// Number of connections per address, in the form that `counted` returns.
    per_address: HashMap<IpAddr, usize>,
    /// The connections that the last search found idle longest, the longest last, with their words at that time. One
    /// that has not moved since then has still been idle longer than all others.
    idle_longest: Vec<(u64, u32)>,
    turned_away: Tally,
}

struct Entry {
    connection: Arc<Connection>,
    address: IpAddr,
    task: Option<AbortHandle>,
    /// The word that the sweeper last read, and when it first read that value.
    seen: u32,
    since: Instant,
}

/// Removes the connection from the list however its task ends.
struct Leave {
    id: u64,
    connections: Weak<Connections>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.lock().remove(self.id);
            connections.observer.closed();
        }
    }
}

impl Connections {
    pub(crate) fn new(limits: Limits, exempt: Vec<IpNet>, observer: Box<dyn ConnectionObserver>) -> Self {
        Self { limits, exempt, observer, shared: Arc::default(), list: Mutex::default() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether `peer` may open another connection. Counts a refusal.
    pub(crate) fn admits(&self, peer: IpAddr) -> bool {
        let mut list = self.lock();
        let held = list.per_address.get(&counted(peer)).copied().unwrap_or(0);
        if held < self.limits.max_per_address || self.is_exempt(peer) {
            return true;
        }
        list.turned_away.refuse(peer);
        self.observer.refused();
        false
    }

    fn is_exempt(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.exempt.iter().any(|network| network.contains(&peer))
    }

    /// Runs a connection's task, which the sweeper may abort.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        peer: IpAddr,
        serve: impl FnOnce(Arc<Connection>) -> F,
    ) {
        let connection = Arc::new(Connection::new(Arc::clone(&self.shared)));
        let id = self.lock().insert(Arc::clone(&connection), counted(peer));
        self.observer.opened();
        let leave = Leave { id, connections: Arc::downgrade(self) };
        let serving = serve(connection);
        let task = tokio::spawn(async move {
            let _leave = leave;
            serving.await;
        });
        if let Some(entry) = self.lock().open.get_mut(&id) {
            entry.task = Some(task.abort_handle());
        }
    }

    /// Closes the connection that has been idle longest. When none waits for a request, closes the one that has been
    /// sending a head for longest. False when all are busy.
    pub(crate) fn displace(&self) -> bool {
        let mut list = self.lock();
        // The second search is needed when every connection that the first one kept has moved.
        for _ in 0..2 {
            while let Some((id, word)) = list.idle_longest.pop() {
                if list.open.get(&id).is_some_and(|entry| entry.close_if_still(word)) {
                    list.turned_away.displace();
                    self.observer.displaced();
                    return true;
                }
            }
            list.search_idle();
        }
        false
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// From now on every response has `Connection: close`, and the sweeper closes connections that wait for a request.
    pub(crate) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.sweep_once();
    }

    /// Ends every connection, whatever its phase.
    pub(crate) fn close_all(&self) {
        self.lock().open.values().filter_map(|entry| entry.task.as_ref()).for_each(AbortHandle::abort);
    }

    /// Reads every connection's word each tick, without end, and reports refused and displaced
    /// connections at most once a minute.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            let draining = self.shared.draining.load(Ordering::Acquire);
            sleep(if draining { DRAIN_TICK } else { self.tick() }).await;
            self.sweep_once();
            let mut list = self.lock();
            let open = list.open.len();
            list.turned_away.report(Instant::now(), open, &self.limits, self.observer.as_ref());
        }
    }

    /// A twentieth of the shortest bound, so that a connection is closed at most that much before its bound.
    fn tick(&self) -> Duration {
        let Limits { header_timeout, idle_timeout, answer_timeout, .. } = self.limits;
        (header_timeout.min(idle_timeout).min(answer_timeout) / 20).clamp(DRAIN_TICK, Duration::from_millis(500))
    }

    fn sweep_once(&self) {
        let draining = self.shared.draining.load(Ordering::Acquire);
        let (now, tick) = (Instant::now(), self.tick());
        for entry in self.lock().open.values_mut() {
            let word = entry.connection.word();
            if word != entry.seen {
                (entry.seen, entry.since) = (word, now);
            }
            let allowed = match phase(word) {
                Phase::Waiting if draining => Duration::ZERO,
                Phase::Waiting if is_new(word) => self.limits.header_timeout,
                Phase::Waiting => self.limits.idle_timeout,
                Phase::Head => self.limits.header_timeout,
                Phase::Busy | Phase::Answered => self.limits.answer_timeout,
                Phase::Closing => continue,
            };
            // The phase began up to one tick before the sweeper first saw it.
            if now.duration_since(entry.since) + tick >= allowed {
                entry.close_if_still(word);
            }
        }
    }

    /// A poisoned lock means only that a thread panicked: the list itself is always whole.
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn insert(&mut self, connection: Arc<Connection>, address: IpAddr) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        *self.per_address.entry(address).or_default() += 1;
        self.open.insert(id, Entry { connection, address, task: None, seen: u32::MAX, since: Instant::now() });
        id
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.open.remove(&id) else { return };
        if let Some(count) = self.per_address.get_mut(&entry.address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&entry.address);
            }
        }
    }

    fn search_idle(&mut self) {
        let mut idle = self.resting_in(Phase::Waiting);
        if idle.is_empty() {
            idle = self.resting_in(Phase::Head);
        }
        let kept = (self.open.len() / SHARE_KEPT).max(LEAST_KEPT);
        if idle.len() > kept {
            idle.select_nth_unstable(kept);
            idle.truncate(kept);
        }
        idle.sort_unstable_by(|a, b| b.cmp(a));
        self.idle_longest = idle.into_iter().map(|(_, id, word)| (id, word)).collect();
    }

    /// For each connection in the phase: since when it rests, its id and its word.
    fn resting_in(&self, wanted: Phase) -> Vec<(u64, u64, u32)> {
        let all = self.open.iter().map(|(id, entry)| (entry.connection.rested(), *id, entry.connection.word()));
        all.filter(|(.., word)| phase(*word) == wanted).collect()
    }
}

impl Entry {
    /// Returns whether it was closed. It is not closed when it has moved since its word was read.
    fn close_if_still(&self, word: u32) -> bool {
        let Some(task) = &self.task else { return false };
        let is_closed = self.connection.close_if_still(word);
        if is_closed {
            task.abort();
        }
        is_closed
    }
}

/// The address under which a connection is counted: an IPv6 client may use any address of its /64, and IPv4
/// mapped into IPv6 counts as IPv4.
fn counted(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_by_what_one_customer_has() {
        for (peer, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::", "2001:db8:1:3::"),
        ] {
            assert_eq!(counted(peer.parse().unwrap()).to_string(), expected, "{peer}");
        }
    }
}

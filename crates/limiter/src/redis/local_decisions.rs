//! The checks that this node answers without asking: refusals it knows of, and slices of hot subjects' budgets.
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    answer::{Answer, State, States, Verdict, explain_states},
    lease::{Hot, Spend},
    request::{Knowledge, StoreRequest, Terms},
};
use crate::{
    algorithm::Cell,
    check::{Check, Purpose},
    decide::decide,
    decision::{Decision, Source},
    explain::Outcome,
    limit::Mode,
    options::Leases,
    progress::Progress,
    state::{Change, StateRef},
    subject::Subject,
};

/// One per partition, so that one lock covers all subjects of a check.
const SHARDS: usize = 256;
/// How long a known refusal is used before the store is asked again. A reset by another
/// node goes unnoticed for as long.
const KNOWN_FOR: Duration = Duration::from_millis(500);
/// Most refused subjects remembered per shard: 65,536 in all, some ten megabytes.
const MAX_KNOWN: usize = 256;
/// Most log moments of refused subjects remembered per shard: eight megabytes in all.
const MAX_KNOWN_MOMENTS: usize = 4_096;
/// A subject is hot when it was checked this often in one tenth of a second and is checked again in the next one.
/// Shorter bursts are decided exactly.
const HOT: u32 = 8;
const TENTH: i64 = 100_000;
/// Subjects per shard whose checks are counted at a time. More in the same tenth of a second displace each other.
const WATCHED: usize = 8;

/// This node's own knowledge of subjects, next to the store's.
#[derive(Debug)]
pub(super) struct LocalDecisions {
    shards: Box<[Mutex<Shard>]>,
    leases: Leases,
    /// Subjects for which slices are taken.
    hot: AtomicUsize,
    pub(super) refused: AtomicU64,
    pub(super) leased: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    resets: u64,
    known: HashMap<Key, Known, BuildHasherDefault<Identity>>,
    hot: HashMap<Key, Hot, BuildHasherDefault<Identity>>,
    heat: [Heat; WATCHED],
}

/// A subject's state at a refusal. Until it is rolled its use only grows, so what it refuses is refused, by a limit beyond
/// a quota too: a quota that is used up stays so. Subjects with reservations are not remembered, because those may end at
/// any moment.
#[derive(Debug)]
struct Known {
    state: State,
    until: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Heat {
    subject: u64,
    tenth: i64,
    checks: u32,
    /// Checks in the previous tenth.
    before: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key([u64; 2]);

impl LocalDecisions {
    pub(super) fn new(leases: Leases) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (hot, refused, leased) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { shards, leases, hot, refused, leased }
    }

    /// Decides `check` if this node knows enough. `now` is the deciding clock, or later.
    pub(super) fn consult(&self, check: &Check<'_>, now: i64) -> Progress<Decision, Terms> {
        if check.purpose() != Purpose::Consume {
            return Progress::Waiting(Terms::default());
        }
        let mut shard = self.shard(&check.first().subject);
        let key = Key(check.first().subject.hash());
        let mut terms = Terms::default();
        terms.knowledge.resets = shard.resets;
        if !shard.hot.is_empty() || self.leases == Leases::Automatic && check.cost() > 0 {
            terms.knowledge.fingerprint = fingerprint(check);
            if let Some(hot) = shard.hot.get_mut(&key).filter(|hot| hot.is_for(terms.knowledge.fingerprint)) {
                match hot.spend(check.cost(), now) {
                    Spend::Covered => {
                        let (states, unspent) = (hot.states().clone(), hot.unspent());
                        drop(shard);
                        return self.leased(check, &states, unspent, now);
                    }
                    Spend::Ask { slice } => (terms.slice, terms.returns) = (slice, hot.take_returns()),
                }
            } else if check.cost() > 0 && shard.heats_up(key, now) && leaseable(check) {
                let hot = shard.hot.entry(key).or_insert_with(|| {
                    self.hot.fetch_add(1, Ordering::Relaxed);
                    Hot::new(terms.knowledge.fingerprint, now)
                });
                if let Spend::Ask { slice } = hot.spend(check.cost(), now) {
                    (terms.slice, terms.returns) = (slice, hot.take_returns());
                }
            }
        }
        match shard.refusal(check, now) {
            Some(decision) if terms.returns.is_empty() => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Progress::Done(Decision { source: Source::RefusedLocally, ..decision })
            }
            _ => Progress::Waiting(terms),
        }
    }

    /// The terms of a request that only reads the states.
    pub(super) fn terms(&self, check: &Check<'_>) -> Terms {
        let shard = self.shard(&check.first().subject);
        let fingerprint = if shard.hot.is_empty() { 0 } else { fingerprint(check) };
        Terms { knowledge: Knowledge { fingerprint, resets: shard.resets }, ..Terms::default() }
    }

    fn leased(&self, check: &Check<'_>, states: &States, unspent: u32, now: i64) -> Progress<Decision, Terms> {
        self.leased.fetch_add(1, Ordering::Relaxed);
        let decision = explain_states(check, Outcome::Taken, states, unspent, now);
        Progress::Done(Decision { source: Source::Leased, ..decision })
    }

    /// Records the store's answer to a request, and adds what this node holds to it.
    pub(super) fn learn(&self, request: &StoreRequest, answer: &mut Answer) {
        let Some(first) = request.subjects().next() else { return };
        let mut shard = self.shard(first);
        let news = shard.resets == request.knowledge.resets;
        let refused = answer.verdict == Verdict::Refused && request.is_decision();
        let granted = if let Verdict::AllowedWithSlice(size) = answer.verdict { size } else { 0 };
        if let Some(hot) = shard.hot.get_mut(&Key(first.hash()))
            && hot.is_for(request.knowledge.fingerprint)
            && news
        {
            hot.learn(request, &answer.states, granted, answer.now);
            answer.unspent = hot.unspent();
        }
        for (subject, state) in request.subjects().zip(&answer.states) {
            if refused && news {
                shard.know(Key(subject.hash()), state);
            } else if !shard.known.is_empty() {
                shard.known.remove(&Key(subject.hash()));
            }
        }
    }

    /// Forgets everything about a subject. Its slices are not given back, because no counter includes them any more.
    pub(super) fn reset(&self, subject: &Subject) {
        let mut shard = self.shard(subject);
        shard.resets += 1;
        shard.known.remove(&Key(subject.hash()));
        if shard.hot.remove(&Key(subject.hash())).is_some() {
            self.hot.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Requests for what must be given back when no other request is made.
    pub(super) fn overdue(&self, now: i64, told: Option<i64>) -> Vec<StoreRequest> {
        let mut overdue = Vec::new();
        if self.hot.load(Ordering::Relaxed) == 0 {
            return overdue;
        }
        for shard in &self.shards {
            let mut shard = locked(shard);
            overdue.extend(shard.hot.values_mut().filter_map(|hot| hot.overdue(now, told)));
            let before = shard.hot.len();
            shard.hot.retain(|_, hot| !hot.is_idle(now));
            self.hot.fetch_sub(before - shard.hot.len(), Ordering::Relaxed);
        }
        overdue
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        #[expect(clippy::indexing_slicing, reason = "256 shards, and a partition is a u8")]
        locked(&self.shards[usize::from(subject.partition())])
    }
}

impl Shard {
    /// The refusal that follows from the known cells of all the check's subjects.
    fn refusal(&self, check: &Check<'_>, now: i64) -> Option<Decision> {
        if self.known.is_empty() {
            return None;
        }
        let known = |subject: &Subject| self.known.get(&Key(subject.hash()));
        let fresh = Instant::now();
        if !check.parts().all(|part| known(&part.subject).is_some_and(|known| fresh < known.until)) {
            return None;
        }
        let states = check.parts().filter_map(|part| known(&part.subject)).map(|known| known.state.as_ref());
        let mut states = Unwritten { states: states.collect(), changed: false };
        let mut decision = Decision::open(now);
        decide(check, |_| true, &mut states, &mut decision);
        // A floor or a step back of the clock must be written, so the store must be asked.
        (!decision.allowed && !states.changed).then_some(decision)
    }

    fn know(&mut self, key: Key, state: &State) {
        self.known.remove(&key);
        if !state.as_ref().reservations().is_empty() {
            return;
        }
        let now = Instant::now();
        if self.known.len() >= MAX_KNOWN || !self.has_room_for(state) {
            self.known.retain(|_, known| now < known.until);
            if self.known.len() >= MAX_KNOWN || !self.has_room_for(state) {
                return;
            }
        }
        self.known.insert(key, Known { state: state.clone(), until: now + KNOWN_FOR });
    }

    /// Whether there is room to remember the logs of a state, which may have a thousand moments.
    fn has_room_for(&self, state: &State) -> bool {
        let moments = |state: &State| state.as_ref().logs().iter().map(|log| log.moments().len()).sum::<usize>();
        match moments(state) {
            0 => true,
            more => self.known.values().map(|known| moments(&known.state)).sum::<usize>() + more <= MAX_KNOWN_MOMENTS,
        }
    }

    /// Counts a check; true when its subject is hot.
    fn heats_up(&mut self, key: Key, now: i64) -> bool {
        let tenth = now / TENTH;
        #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
        let heat = &mut self.heat[(key.0[0] >> 8) as usize % WATCHED];
        if heat.subject != key.0[1] {
            if heat.tenth == tenth && heat.checks.max(heat.before) > 1 {
                heat.checks = heat.checks.saturating_sub(1);
                return false;
            }
            *heat = Heat { subject: key.0[1], tenth, checks: 0, before: 0 };
        } else if heat.tenth != tenth {
            let before = if heat.tenth == tenth - 1 { heat.checks } else { 0 };
            *heat = Heat { tenth, checks: 0, before, ..*heat };
        }
        heat.checks += 1;
        heat.before >= HOT
    }
}

/// States that are only read.
struct Unwritten<'a> {
    states: SmallVec<[StateRef<'a>; 2]>,
    changed: bool,
}

impl crate::state::States for Unwritten<'_> {
    fn state(&self, part: usize) -> StateRef<'_> {
        self.states.get(part).copied().unwrap_or_default()
    }

    fn cells_in_order(&mut self, _: usize) -> Option<&mut [Cell]> {
        None
    }

    fn write(&mut self, _: usize, _: Change) {
        self.changed = true;
    }

    fn write_cell(&mut self, _: usize, _: usize, _: &Cell) {
        self.changed = true;
    }
}

/// Whether slices may be taken for these limits. Not when one of them applies beyond a quota: whether it does is known only
/// when a unit is spent, so every such check is decided exactly.
fn leaseable(check: &Check<'_>) -> bool {
    let mut limits = check.parts().flat_map(|part| part.limits);
    limits.all(|limit| limit.mode() != Mode::Beyond && limit.quota().rule().spares_slices())
}

/// Covers the subjects and limits of a check, including the limits' sizes: a lowered limit must
/// not be spent from an old slice.
fn fingerprint(check: &Check<'_>) -> u64 {
    let mix = |hash: u64, value: u64| (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    check.parts().fold(1, |hash, part| {
        let hash = mix(mix(hash, part.subject.hash()[0]), part.limits.len() as u64);
        part.limits.iter().fold(hash, |hash, limit| {
            let quota = limit.quota();
            let sized = mix(mix(mix(hash, limit.id()), quota.limit()), quota.burst());
            mix(sized, u64::from(limit.weight()) << 2 | limit.mode() as u64)
        })
    })
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[1]);
    }
}

/// A subject's hash is random already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

//! Asks the database whether any key or token has a well-formed secret that this node does not hold.
//!
//! Anybody can invent such texts, as many as they have connections for. So all of them share one query at a
//! time, on one connection of the pool, and each client address has a bounded part of every query: a client
//! that floods waits behind its own flood. Nobody is refused because of it. When the database does not answer,
//! all who wait learn it at once.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tollgate_domain::{SecretHash, network::client_of};
use tollgate_repository::MAX_PROBED;

use super::Access;
use crate::Error;

/// Most secrets of one client in a query, so that a few flooding clients leave room for others.
const MAX_OF_CLIENT: usize = MAX_PROBED / 4;

/// The waiting secrets, by client. Clients take turns.
#[derive(Default)]
pub(crate) struct SecretProbe(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// No queue is empty. The client `None` has the requests that came through no socket.
    clients: HashMap<Option<IpAddr>, VecDeque<Asked>>,
    /// Each client of `clients` once.
    turns: VecDeque<Option<IpAddr>>,
    /// Whether a task is asking the database. It continues until no secret waits.
    asking: bool,
}

struct Asked {
    hash: SecretHash,
    answer: oneshot::Sender<Result<bool, Error>>,
}

impl SecretProbe {
    /// Adds a secret to its client's queue. True when the caller must start asking.
    fn wait(&self, asked: Asked, client: Option<IpAddr>) -> bool {
        let mut waiting = self.lock();
        let queue = waiting.clients.entry(client).or_default();
        queue.push_back(asked);
        if queue.len() == 1 {
            waiting.turns.push_back(client);
        }
        !std::mem::replace(&mut waiting.asking, true)
    }

    /// The secrets of the next query. None when nothing waits, which ends the asking.
    fn next(&self) -> Option<Vec<Asked>> {
        let mut waiting = self.lock();
        let mut question = Vec::new();
        for _ in 0..waiting.turns.len() {
            let room = MAX_PROBED - question.len();
            if room == 0 {
                break;
            }
            let Some(client) = waiting.turns.pop_front() else { break };
            let Some(queue) = waiting.clients.get_mut(&client) else { continue };
            question.extend(queue.drain(..queue.len().min(MAX_OF_CLIENT).min(room)));
            if queue.is_empty() {
                waiting.clients.remove(&client);
            } else {
                waiting.turns.push_back(client);
            }
        }
        waiting.asking = !question.is_empty();
        waiting.asking.then_some(question)
    }

    /// All waiting secrets.
    fn take_all(&self) -> Vec<Asked> {
        let mut waiting = self.lock();
        waiting.turns.clear();
        waiting.clients.drain().flat_map(|(_, queue)| queue).collect()
    }

    /// A panic while the lock is held leaves the queues whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access<'_> {
    /// Whether a key or token has the secret, or had it until recently. `from` is the client's address.
    pub(crate) async fn secret_exists(self, hash: SecretHash, from: Option<IpAddr>) -> Result<bool, Error> {
        let (answer, answered) = oneshot::channel();
        if self.0.secret_probe().wait(Asked { hash, answer }, from.map(client_of)) {
            let service = self.0.clone();
            self.0.spawn(async move { service.access().answer_probes().await });
        }
        answered.await.unwrap_or_else(|_| Err(Error::database_down()))
    }

    async fn answer_probes(self) {
        let count = |result| self.0.metrics().secret_lookups.with_label_values(&[result]);
        while let Some(question) = self.0.secret_probe().next() {
            let hashes: Vec<_> = question.iter().map(|asked| asked.hash).collect();
            match self.0.repository().keys().existing_secrets(&hashes).await.map_err(Error::from) {
                Ok(existing) => {
                    for Asked { hash, answer } in question {
                        let exists = existing.contains(&hash);
                        count(if exists { "known" } else { "unknown" }).inc();
                        // The caller may have hung up.
                        let _ = answer.send(Ok(exists));
                    }
                }
                Err(error) => {
                    for Asked { answer, .. } in question.into_iter().chain(self.0.secret_probe().take_all()) {
                        count("failed").inc();
                        let _ = answer.send(Err(error.shared()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(number: usize) -> Asked {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        Asked { hash: SecretHash(hash), answer: oneshot::channel().0 }
    }

    fn client(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    #[test]
    fn one_client_has_a_part_of_a_question_and_another_is_in_the_next_one() {
        let probe = SecretProbe::default();
        assert!(probe.wait(asked(0), client(1)), "the first one starts asking");
        for number in 1..5_000 {
            assert!(!probe.wait(asked(number), client(1)));
        }
        assert_eq!(probe.next().unwrap().len(), MAX_OF_CLIENT);
        probe.wait(asked(9_999), client(2));
        let question = probe.next().unwrap();
        assert_eq!(question.len(), MAX_OF_CLIENT + 1);
        assert!(question.iter().any(|one| one.hash == asked(9_999).hash));
        let rest: usize = std::iter::from_fn(|| probe.next()).map(|question| question.len()).sum();
        assert_eq!(rest, 5_000 - 2 * MAX_OF_CLIENT);
        assert!(probe.wait(asked(0), client(1)), "nobody asks any more");
    }

    #[test]
    fn clients_take_turns_and_none_is_passed_over() {
        let probe = SecretProbe::default();
        for number in 0..200_u8 {
            for _ in 0..3 {
                probe.wait(asked(usize::from(number)), client(number));
            }
        }
        let (mut questions, mut answered) = (0, 0);
        while let Some(question) = probe.next() {
            assert!(question.len() <= MAX_PROBED);
            questions += 1;
            answered += question.len();
        }
        assert_eq!((answered, questions), (600, 600_usize.div_ceil(MAX_PROBED)));
        assert!(probe.lock().clients.is_empty() && probe.lock().turns.is_empty());
    }
}

//! Clients that keep checking a key while things break, and count what they were told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use tokio::task::JoinHandle;

use crate::{
    answer::{Client, try_send},
    wait::eventually,
};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";
/// Before another try at a service that refuses connections.
const PAUSE: Duration = Duration::from_millis(10);

/// What the clients were told so far.
#[derive(Default)]
pub struct Told {
    allowed: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    failed: AtomicU64,
    cut: AtomicU64,
    degraded: AtomicU64,
    slowest_micros: AtomicU64,
}

impl Told {
    /// Checks that were allowed: what must be billed.
    pub fn allowed(&self) -> u64 {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Checks that were refused by a limit.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Checks that were answered 503: not yet, or no longer, able to decide.
    pub fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::Relaxed)
    }

    /// Answers of any other kind.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Checks that were sent and never answered: what may be billed or not.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Answers that were marked as degraded.
    pub fn degraded(&self) -> u64 {
        self.degraded.load(Ordering::Relaxed)
    }

    /// The slowest answer.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_micros.load(Ordering::Relaxed))
    }
}

/// Clients at work until they are stopped.
pub struct Traffic {
    /// Counts up to now.
    pub told: Arc<Told>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts `clients` that check with the credential of `client`, each as soon as it was answered.
    pub fn start(client: &Client, clients: usize) -> Self {
        let (told, stop) = (Arc::<Told>::default(), Arc::<AtomicBool>::default());
        let one = |_| tokio::spawn(check_until(client.clone(), Arc::clone(&told), Arc::clone(&stop)));
        let clients = (0..clients).map(one).collect();
        Self { told, stop, clients }
    }

    /// Waits until `more` further checks were allowed.
    pub async fn allowed_more(&self, more: u64) {
        let target = self.told.allowed() + more;
        let what = format!("{more} more checks are allowed");
        eventually(&what, Duration::from_secs(60), async || (self.told.allowed() >= target).then_some(())).await;
    }

    /// Waits for the answers under way.
    pub async fn stop(self) -> Arc<Told> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client ends");
        }
        self.told
    }
}

async fn check_until(client: Client, told: Arc<Told>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        match try_send(client.request(Method::POST, VALIDATE)).await {
            Ok(answer) => {
                let counter = match answer.status {
                    200 => &told.allowed,
                    429 => &told.refused,
                    503 => &told.unavailable,
                    _ => &told.failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                told.degraded.fetch_add(u64::from(answer.body["degraded"] == true), Ordering::Relaxed);
                let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                told.slowest_micros.fetch_max(micros, Ordering::Relaxed);
                if answer.status == 503 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // Nothing was sent.
            Err(error) if error.is_connect() => tokio::time::sleep(PAUSE).await,
            Err(_) => {
                told.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

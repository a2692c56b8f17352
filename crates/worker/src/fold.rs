//! Adds usage that waits to the tables: once a second, and a bounded amount at a time. Few active keys are written at once;
//! the more there are, the longer each waits, so the cost follows the clock and not the checks.
//!
//! The database holds what is due, and the first worker takes it there, so no job carries it.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tollgate_domain::usage::FoldPart;
use tollgate_service::{Error, Service};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// A round ends after this many keys or this long, when the part that was begun is finished. So the tables cost at most that
/// share of the database. With 100,000 active keys each is written every ten seconds, or later with a slower database.
const MAX_KEYS: usize = 10_000;
const MAX_TIME: Duration = Duration::from_millis(400);
/// A round's time while this process is busy, which is with checks: SQLite runs on one of their cores.
const MAX_TIME_BUSY: Duration = Duration::from_millis(75);
/// The share of a core above which the process is busy.
const BUSY: f64 = 0.5;
/// When all keys have waited this long, usage comes in faster than a busy process adds it.
const LATE: Duration = Duration::from_secs(300);

/// Folds until `stop`.
pub(crate) async fn run(service: Service, stop: CancellationToken) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pace = Pace::new();
    let folding = async {
        loop {
            rounds.tick().await;
            if !service.is_prepared() {
                continue;
            }
            match round(&service, &mut pace).await {
                Ok(()) => {}
                Err(error @ Error::Unavailable { .. }) => tracing::debug!(%error, "usage waits for the database"),
                Err(error) => tracing::error!(%error, "usage could not be added to the tables"),
            }
        }
    };
    tokio::select! { () = folding => {} () = stop.cancelled() => {} }
}

/// How far the rounds have come through all parts, and how much time the next one has.
struct Pace {
    last: Option<FoldPart>,
    /// When the first part was folded last.
    lap: Instant,
    /// When the last round was over, and what the process had used of its cores then.
    rested: (Instant, Duration),
}

impl Pace {
    fn new() -> Self {
        Self { last: None, lap: Instant::now(), rested: (Instant::now(), cpu_time()) }
    }

    fn time(&self) -> Duration {
        let (since, used) = self.rested;
        let busy = cpu_time().saturating_sub(used).as_secs_f64() > BUSY * since.elapsed().as_secs_f64();
        if busy && self.lap.elapsed() < LATE { MAX_TIME_BUSY } else { MAX_TIME }
    }
}

/// What all threads of this process have used of the machine's cores.
fn cpu_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Goes on after the part that was folded last.
async fn round(service: &Service, pace: &mut Pace) -> Result<(), Error> {
    let mut waiting = service.metering().waiting_parts().await?;
    let (began, max_time, mut keys) = (Instant::now(), pace.time(), 0);
    match waiting.iter().position(|part| pace.last.is_some_and(|last| *part > last)) {
        Some(next) => waiting.rotate_left(next),
        None => pace.lap = began,
    }
    for part in waiting {
        keys += service.metering().fold(part).await?;
        pace.last = Some(part);
        if keys >= MAX_KEYS || began.elapsed() >= max_time {
            break;
        }
    }
    pace.rested = (Instant::now(), cpu_time());
    Ok(())
}

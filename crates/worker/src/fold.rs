//! Adds pending usage to the usage tables: once a second, a bounded amount at a time. With few active keys each is
//! written at once; with more keys each waits longer, so the cost depends on the clock and not on the number of checks.
//!
//! The database knows what is pending, and any worker may fold it, so no job carries it.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tollgate_domain::usage::FoldPart;
use tollgate_service::{Error, Service};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// A round ends after this many keys or this much time, once the current part is finished. This bounds the tables'
/// share of the database. With 100,000 active keys each is written every ten seconds, or later with a slower database.
const MAX_KEYS: usize = 10_000;
const MAX_TIME: Duration = Duration::from_millis(400);
/// A round's time while this process is busy with checks: SQLite runs on one of their cores.
const MAX_TIME_BUSY: Duration = Duration::from_millis(75);
/// The share of a core above which the process is busy.
const BUSY: f64 = 0.5;
/// When all keys have waited this long, usage arrives faster than a busy process adds it.
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
                Err(error @ Error::Unavailable { .. }) => {
                    tracing::debug!(%error, "cannot reach the database; usage waits")
                }
                Err(error) => tracing::error!(%error, "cannot add usage to the tables; trying again"),
            }
        }
    };
    tokio::select! { () = folding => {} () = stop.cancelled() => {} }
}

/// How far the rounds are through all parts, and how much time the next one has.
struct Pace {
    last: Option<FoldPart>,
    /// When the first part was last folded.
    lap: Instant,
    /// When the last round ended, and how much CPU time the process had used by then.
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

/// CPU time of all threads of this process.
fn cpu_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Continues after the part that was folded last.
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

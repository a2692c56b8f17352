//! Adds usage that waits to the tables, once a second and only so much at a time: few active keys are written at once, of
//! many each waits longer, so that the cost follows the clock and not the checks.
//!
//! What is due stands in the database and is taken there by whichever worker comes first, so no job carries it.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tollgate_service::{Error, FoldPart, Service};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// A round ends after so many keys or so long, with the part that was begun: so the tables cost at most that share of the
/// database. With 100,000 active keys each is written every ten seconds, or later where checks want the same core.
const MAX_KEYS: usize = 10_000;
const MAX_TIME: Duration = Duration::from_millis(200);

/// Folds until `stop`.
pub(crate) async fn run(service: Service, stop: CancellationToken) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    let folding = async {
        loop {
            rounds.tick().await;
            if !service.is_prepared() {
                continue;
            }
            match round(&service, last).await {
                Ok(part) => last = part,
                Err(error @ Error::Unavailable { .. }) => tracing::debug!(%error, "usage waits for the database"),
                Err(error) => tracing::error!(%error, "usage could not be added to the tables"),
            }
        }
    };
    tokio::select! { () = folding => {} () = stop.cancelled() => {} }
}

/// Goes on after the part that was folded last; which one that is now.
async fn round(service: &Service, last: Option<FoldPart>) -> Result<Option<FoldPart>, Error> {
    let mut waiting = service.waiting_parts().await?;
    let begin = waiting.iter().position(|part| last.is_some_and(|last| *part > last)).unwrap_or(0);
    waiting.rotate_left(begin);
    let (began, mut keys, mut last) = (Instant::now(), 0, last);
    for part in waiting {
        keys += service.fold_usage(part).await?;
        last = Some(part);
        if keys >= MAX_KEYS || began.elapsed() >= MAX_TIME {
            break;
        }
    }
    Ok(last)
}

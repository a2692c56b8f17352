//! Background tasks of an API node: the shipper, the poll for changed keys, the memory limiter's snapshots.

use std::{pin::Pin, time::Duration};

use tollgate_limiter::Limiter;

use crate::{
    Error, Service,
    metering::shipper::{self, Shipper, Step},
    ops::snapshot,
};

/// How often a node looks for journals of processes that died on this disk.
const LOOK_FOR_ABANDONED: Duration = Duration::from_secs(10);

pub(crate) fn start(service: &Service) {
    let every = |interval: Duration| {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    };
    let config = service.config();
    let ship = every(config.journal.ship_interval());
    let abandoned = every(LOOK_FOR_ABANDONED);
    let poll = every(Duration::from_millis(config.cache.poll_ms));
    let snapshots = every(Duration::from_secs(config.limiter.snapshot_seconds));
    // Not in the background: every check depends on it.
    service.spawn(until_stopped(service, watch_changes(service.clone(), poll)));
    let background = service.in_background();
    let spawn = |task: BoxFuture| {
        let task = until_stopped(service, task);
        service.track_in_background(task);
    };
    spawn(Box::pin(ship_own(background.clone(), ship)));
    spawn(Box::pin(ship_abandoned(background.clone(), abandoned)));
    if matches!(service.limiter(), Limiter::Memory(_)) {
        spawn(Box::pin(snapshot::keep_counters_every(background, snapshots)));
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `task` from the time the tables are up to date until the service closes.
fn until_stopped<F>(service: &Service, task: F) -> impl Future<Output = ()> + Send + use<F>
where
    F: Future<Output = ()> + Send,
{
    let service = service.clone();
    async move {
        let prepared_then_task = async {
            service.prepared().await;
            task.await;
        };
        tokio::select! { () = service.stop().cancelled() => {} () = prepared_then_task => {} }
    }
}

async fn ship_own(service: Service, mut ticks: tokio::time::Interval) {
    let Ok(journal) = service.journal() else { return };
    let mut shipper = Shipper::own(service.clone(), journal);
    loop {
        ticks.tick().await;
        shipper::write_refusals(&service);
        // Only full batches repeat at once. Under load there is always something more, which waits for the next tick.
        while ship(&mut shipper).await == Some(Step::Full) {}
    }
}

/// Ships the journals of processes that died here to their end, then deletes them.
async fn ship_abandoned(service: Service, mut ticks: tokio::time::Interval) {
    loop {
        ticks.tick().await;
        let streams = match tollgate_journal::abandoned(&service.config().journal.dir) {
            Ok(streams) => streams,
            Err(error) => {
                tracing::error!(%error, "cannot look for journals of former processes; trying again");
                continue;
            }
        };
        for stream in streams {
            let mut shipper = Shipper::new(service.clone(), stream);
            let rest = loop {
                match ship(&mut shipper).await {
                    Some(Step::Sent | Step::Full) => {}
                    ended => break ended,
                }
            };
            if rest == Some(Step::Idle)
                && let Err(error) = shipper.finish().await
            {
                tracing::error!(%error, "cannot delete a shipped journal; trying again");
            }
        }
    }
}

/// None when it failed; the next tick tries again.
async fn ship(shipper: &mut Shipper) -> Option<Step> {
    match shipper.step().await {
        Ok(step) => Some(step),
        Err(error @ Error::Unavailable { .. }) => {
            tracing::debug!(%error, "cannot ship the journal while a store is down; trying again");
            None
        }
        Err(error) => {
            tracing::error!(%error, "cannot ship the journal; trying again");
            None
        }
    }
}

/// Drops changed keys and plans from the cache. The revision is one counter that every change increments in its own
/// transaction, so a poll misses no change, whatever the nodes' clocks say.
async fn watch_changes(service: Service, mut ticks: tokio::time::Interval) {
    let mut seen = None;
    loop {
        ticks.tick().await;
        let now = service.clock().micros();
        let looked = match seen {
            None => service.repository().revision().await.inspect(|_| {
                service.cache().forget_all();
                service.token_cache().forget_all();
            }),
            Some(revision) => service.repository().changes_since(revision).await.map(|changes| {
                service.token_cache().forget(&changes.admin_tokens);
                if !changes.api_keys.is_empty() {
                    service.cache().forget(changes.api_keys);
                }
                if !changes.plans.is_empty() {
                    service.forget_plans(changes.plans.iter().map(|(tenant_id, name)| (*tenant_id, name.as_str())));
                }
                changes.revision
            }),
        };
        match looked {
            Ok(revision) => {
                seen = Some(revision);
                service.cache().confirm(now);
                service.token_cache().confirm(now);
            }
            Err(error) => tracing::debug!(%error, "cannot look for changed keys; trying again"),
        }
        let held = i64::try_from(service.cache().len()).unwrap_or(i64::MAX);
        service.metrics().cache_entries.set(held);
    }
}

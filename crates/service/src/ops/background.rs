//! What runs alongside requests of an API node: the shipper, the look for changed keys, the memory limiter's snapshots.

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
    // Every check depends on it, so it gives way to none.
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

/// `task` from when the tables are up to date until the service closes.
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
        // What comes in meanwhile waits for the next tick: under load there always is something.
        while ship(&mut shipper).await == Some(Step::Full) {}
    }
}

/// Journals of processes that died here: shipped to their end, then deleted.
async fn ship_abandoned(service: Service, mut ticks: tokio::time::Interval) {
    loop {
        ticks.tick().await;
        let streams = match tollgate_journal::abandoned(&service.config().journal.dir) {
            Ok(streams) => streams,
            Err(error) => {
                tracing::error!(%error, "looking for former processes' journals");
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
                tracing::error!(%error, "a shipped journal could not be deleted");
            }
        }
    }
}

/// None when it failed and is to be tried again at the next tick.
async fn ship(shipper: &mut Shipper) -> Option<Step> {
    match shipper.step().await {
        Ok(step) => Some(step),
        Err(error @ Error::Unavailable { .. }) => {
            tracing::debug!(%error, "the journal waits to be shipped");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the journal could not be shipped");
            None
        }
    }
}

/// Drops changed keys and plans from the cache. The revision is one counter that every change takes in its own transaction,
/// so a poll misses nothing whatever the nodes' clocks say.
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
            Err(error) => tracing::debug!(%error, "looking for changed keys"),
        }
        let held = i64::try_from(service.cache().len()).unwrap_or(i64::MAX);
        service.metrics().cache_entries.set(held);
    }
}

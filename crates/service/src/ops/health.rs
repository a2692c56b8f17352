//! Whether the service's dependencies answer, and the gauges that are read at each scrape.

use std::time::Duration;

use prometheus::TextEncoder;

use super::Ops;
use crate::Error;

/// A dependency that does not answer within this time is down.
const PATIENCE: Duration = Duration::from_millis(500);

/// The content type of [`Ops::metrics_text`].
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One dependency.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// `database`, `limiter`, `queue` or `journal`.
    pub name: &'static str,
    /// `sqlite`, `postgres`, `memory`, `redis`, …
    pub kind: String,
    /// Whether the service cannot work without it. Without the others it answers degraded or later.
    pub required: bool,
    /// The time it took to answer, or its error.
    pub state: Result<Duration, String>,
}

impl Ops<'_> {
    /// Asks every dependency at once.
    pub async fn health(self) -> Vec<Dependency> {
        let config = self.0.config();
        let (database, limiter, queue) = tokio::join!(
            ask(async { Ok::<_, Error>(self.0.repository().ping().await?) }),
            ask(async { Ok::<_, Error>(self.0.limiter().ping().await?) }),
            ask(async { Ok::<_, Error>(self.0.queue().ping().await?) }),
        );
        let one = |name, kind: &str, required, state| Dependency { name, kind: kind.to_owned(), required, state };
        let mut found = vec![
            one("database", self.0.repository().engine(), true, database),
            one("limiter", config.limiter.url.scheme(), false, limiter),
            one("queue", config.queue.url.scheme(), false, queue),
        ];
        if let Some(unshipped) = self.0.unshipped() {
            let most = config.journal.max_unshipped_seconds;
            let late = format!("usage of {} s waits to be stored, more than {most}", unshipped.as_secs());
            let state = if unshipped > Duration::from_secs(most) { Err(late) } else { Ok(Duration::ZERO) };
            found.push(one("journal", "file", false, state));
        }
        found
    }

    /// All metrics as Prometheus reads them: [`METRICS_TYPE`].
    ///
    /// # Errors
    /// Two metrics share a name, which is a fault of this program.
    pub async fn metrics_text(self) -> Result<String, prometheus::Error> {
        self.refresh_gauges().await;
        TextEncoder::new().encode_to_string(&self.0.metrics().registry().gather())
    }

    /// Reads the gauges that are not counted as things happen: pool, queue, limiter, keys. What cannot be read keeps its
    /// last value.
    async fn refresh_gauges(self) {
        let metrics = self.0.metrics();
        let pool = self.0.repository().pool();
        for (state, count) in [("idle", pool.idle), ("busy", pool.size.saturating_sub(pool.idle)), ("max", pool.max)] {
            metrics.pool.with_label_values(&[state]).set(i64::from(count));
        }
        if let Some(unshipped) = self.0.unshipped() {
            metrics.journal_lag_seconds.set(unshipped.as_secs_f64());
        }
        let stats = self.0.limiter().stats();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.limiter_subjects.set(gauge(stats.subjects));
        metrics.limiter_evicted.set(gauge(stats.evicted));
        metrics.limiter_breaker.set(i64::from(stats.breaker_open));
        metrics.limiter_calls.with_label_values(&["ok"]).set(gauge(stats.calls.saturating_sub(stats.failed_calls)));
        metrics.limiter_calls.with_label_values(&["failed"]).set(gauge(stats.failed_calls));
        let reads = async {
            if let Ok(depths) = self.0.queue().depths().await {
                for depth in depths {
                    let priority = depth.priority.as_str();
                    let states = [
                        ("waiting", depth.waiting),
                        ("scheduled", depth.scheduled),
                        ("leased", depth.leased),
                        ("dead", depth.dead),
                    ];
                    for (state, count) in states {
                        metrics.queue.with_label_values(&[priority, state]).set(gauge(count));
                    }
                    let age = depth.oldest_waiting.unwrap_or_default().as_secs_f64();
                    metrics.queue_age.with_label_values(&[priority]).set(age);
                }
            }
            if let Ok(counts) = self.0.repository().keys().counts().await {
                metrics.keys.reset();
                for count in counts {
                    metrics.keys.with_label_values(&[&count.tier, count.status.as_str()]).set(count.count);
                }
            }
        };
        if tokio::time::timeout(PATIENCE, reads).await.is_err() {
            tracing::debug!("cannot read some gauges in time; they keep their last values");
        }
    }
}

async fn ask<E: std::fmt::Display>(ping: impl Future<Output = Result<Duration, E>>) -> Result<Duration, String> {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
    }
}

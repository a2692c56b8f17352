//! What the service counts. A metric is one field; its doc comment is its help text.
//!
//! Keys, ids and addresses are never labels: an attacker would choose how many series there are.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

macro_rules! metrics {
    (@make IntCounter, $opts:expr) => { IntCounter::with_opts($opts) };
    (@make Gauge, $opts:expr) => { Gauge::with_opts($opts) };
    (@make IntGauge, $opts:expr) => { IntGauge::with_opts($opts) };
    (@make $vec:ident[$($label:literal),+], $opts:expr) => { $vec::new($opts, &[$($label),+]) };
    (
        $(#[doc = $help:literal] $field:ident: $type:ident $([$($label:literal),+])? = $name:literal,)+
        resolved once: $($hot:ident: $children:ident of $parent:ident,)+
    ) => {
        /// The service's own metrics; the HTTP ones are the API's.
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $type,)+
            $(pub(crate) $hot: $children,)+
        }

        impl Metrics {
            /// Registers all of them, and the process's own figures.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
                $(
                    let $field = metrics!(@make $type $([$($label),+])?, Opts::new($name, $help.trim()))?;
                    registry.register(Box::new($field.clone()))?;
                )+
                $(let $hot = $children::new(&$parent);)+
                Ok(Self { registry, $($field,)+ $($hot,)+ })
            }
        }
    };
}

metrics! {
    /// Checks by outcome (allowed, rate_limited, quota_exceeded, rejected, unknown_key, unavailable) and by the way they were answered.
    checks: IntCounterVec["outcome", "source"] = "tollgate_checks_total",
    /// Units admitted by checks.
    units: IntCounter = "tollgate_units_total",
    /// Look-ups of keys in this node's memory, by result (hit, stale, miss, unknown).
    cache: IntCounterVec["result"] = "tollgate_key_cache_lookups_total",
    /// Well-formed secrets that this node did not hold and asked the database about, by result (known, unknown, failed).
    secret_lookups: IntCounterVec["result"] = "tollgate_secret_lookups_total",
    /// Keys held in this node's memory.
    cache_entries: IntGauge = "tollgate_key_cache_entries",
    /// Keys by plan and status.
    keys: IntGaugeVec["tier", "status"] = "tollgate_api_keys",
    /// Jobs by priority and state (waiting, scheduled, leased, dead).
    queue: IntGaugeVec["priority", "state"] = "tollgate_queue_jobs",
    /// Age of the oldest waiting job, by priority, in seconds.
    queue_age: GaugeVec["priority"] = "tollgate_queue_oldest_waiting_seconds",
    /// Attempts at jobs, by name and outcome (done, retry, abort; cut: it panicked, took too long or its process ended).
    jobs: IntCounterVec["job", "outcome"] = "tollgate_jobs_total",
    /// Bytes of this node's journal that the database does not hold yet, by stream.
    journal_lag: IntGaugeVec["stream"] = "tollgate_journal_lag_bytes",
    /// How long this node's usage waits to be stored in the database, in seconds: what was decided longer ago is there.
    journal_lag_seconds: Gauge = "tollgate_journal_lag_seconds",
    /// Differences between figures that should be one, which nobody has acknowledged.
    reconciliation_findings: IntGauge = "tollgate_reconciliation_findings",
    /// Billing records written.
    billing_records: IntCounter = "tollgate_billing_records_total",
    /// Keys whose usage was added to the tables.
    usage_folded: IntCounter = "tollgate_usage_folded_keys_total",
    /// Records that the journal refused, each an unanswered check.
    journal_errors: IntCounter = "tollgate_journal_errors_total",
    /// Batches of usage or violations sent, by stream and result (confirmed, resent).
    batches: IntCounterVec["stream", "result"] = "tollgate_journal_batches_total",
    /// Connections to the database by state (idle, busy, max).
    pool: IntGaugeVec["state"] = "tollgate_database_connections",
    /// Subjects whose counters this node holds in memory.
    limiter_subjects: IntGauge = "tollgate_limiter_subjects",
    /// Calls to the shared counter store, by result (ok, failed), as of the last scrape.
    limiter_calls: IntGaugeVec["result"] = "tollgate_limiter_store_calls",
    /// 1 while the shared counter store is left alone because it failed.
    limiter_breaker: IntGauge = "tollgate_limiter_breaker_open",
    /// Subjects dropped from memory before their counters expired, for want of room.
    limiter_evicted: IntGauge = "tollgate_limiter_evicted_subjects",

    // The hot path looks no child up.
    resolved once:
    hot: Hot of checks,
    cache_hits: CacheHits of cache,
}

/// Children of [`Metrics::checks`] that the hot path increments.
#[derive(Clone)]
pub(crate) struct Hot {
    allowed: [IntCounter; 5],
    rate_limited: [IntCounter; 5],
    quota_exceeded: [IntCounter; 5],
}

/// Labels of the ways a check is answered; the order is [`source_index`]'s.
const SOURCES: [&str; 5] = ["exact", "local", "open", "refused_locally", "leased"];

/// The outcome of a decided check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Admitted.
    Allowed,
    /// Refused by a limit.
    RateLimited,
    /// Refused by the period's quota only.
    QuotaExceeded,
}

impl Hot {
    fn new(checks: &IntCounterVec) -> Self {
        let children = |outcome: &str| SOURCES.map(|source| checks.with_label_values(&[outcome, source]));
        Self {
            allowed: children("allowed"),
            rate_limited: children("rate_limited"),
            quota_exceeded: children("quota_exceeded"),
        }
    }

    pub(crate) fn count(&self, outcome: Outcome, source: tollgate_limiter::Source) {
        let children = match outcome {
            Outcome::Allowed => &self.allowed,
            Outcome::RateLimited => &self.rate_limited,
            Outcome::QuotaExceeded => &self.quota_exceeded,
        };
        if let Some(child) = children.get(source_index(source)) {
            child.inc();
        }
    }
}

/// Children of [`Metrics::cache`].
#[derive(Clone)]
pub(crate) struct CacheHits {
    pub(crate) hit: IntCounter,
    pub(crate) stale: IntCounter,
    pub(crate) miss: IntCounter,
    pub(crate) unknown: IntCounter,
}

impl CacheHits {
    fn new(cache: &IntCounterVec) -> Self {
        let child = |result: &str| cache.with_label_values(&[result]);
        Self { hit: child("hit"), stale: child("stale"), miss: child("miss"), unknown: child("unknown") }
    }
}

fn source_index(source: tollgate_limiter::Source) -> usize {
    use tollgate_limiter::Source;
    match source {
        Source::Exact => 0,
        Source::Local => 1,
        Source::Open => 2,
        Source::RefusedLocally => 3,
        Source::Leased => 4,
        _ => SOURCES.len(),
    }
}

impl Metrics {
    /// The registry to which the API adds its own metrics, and which `/metrics` prints.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

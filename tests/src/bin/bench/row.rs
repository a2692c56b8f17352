//! One line of the table: what is loaded, and what it cost in each round.

use std::time::Duration;

use tollgate_tests::{
    answer::Client,
    load::{Idle, Load, Seen},
    machine::{busy, cpu},
};

use crate::{
    script::Script,
    shapes::{REST_CORE, SERVER_CORE},
};

/// Which line it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Id {
    /// The bare handler with body and headers: what all else is measured by.
    Bytes,
    /// The bare handler with the body only.
    Body,
    /// The bare handler as the rows on Redis are loaded.
    Resting,
    /// Embedded, as by default.
    Embedded,
    /// The same with very many keys in use.
    Active,
    /// Embedded, no log line for a success.
    Silent,
    /// Embedded, a log line for each success.
    EveryLine,
    /// Many subjects on Redis, over this many connections.
    Redis(usize),
    /// The same with a quota in addition to the limit.
    Quota,
    /// This many callers of the baseline's script.
    Script(usize),
    /// The bare handler that calls the baseline's script.
    Counted,
    /// One subject far from its limit.
    Hot,
    /// One subject over its limit.
    Over,
    /// The bare handler at a pace.
    PacedBare,
    /// Many subjects on Redis at a pace.
    PacedRedis,
}

/// How load is made.
pub(crate) enum Work {
    /// As much as the connections carry.
    Closed(Load),
    /// This many requests per second.
    Paced(Load, f64),
    /// No HTTP: calls of the baseline's script.
    Script(Script),
}

/// A line, and what was seen.
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) work: Work,
    /// The server under load.
    pub(crate) server: Option<u32>,
    /// The Redis behind it.
    pub(crate) redis: Option<u32>,
    /// The Redis that carries its jobs.
    pub(crate) queue: Option<u32>,
    /// The service, where it counts its calls of Redis.
    pub(crate) counts: Option<Client>,
    pub(crate) rounds: Vec<Round>,
    /// Answers of all rounds and of the warm-up.
    pub(crate) answers: usize,
}

/// One span of load.
pub(crate) struct Round {
    pub(crate) seen: Seen,
    /// Processor seconds of the server per million answers.
    pub(crate) server: f64,
    /// The same of Redis.
    pub(crate) redis: f64,
    /// The same of the queue's Redis.
    pub(crate) queue: f64,
    /// Calls of Redis that decided checks, per answer.
    pub(crate) calls: f64,
    /// Answers that the service gave without Redis.
    pub(crate) degraded: f64,
    /// Bytes of the journal whose usage was not in the database at the end.
    pub(crate) unstored: f64,
    /// How busy the server's core and the other one were, of 1.
    pub(crate) busy: [f64; 2],
}

/// What a service counts since its start.
#[derive(Default)]
struct Counts {
    /// Calls of Redis that decided checks.
    calls: f64,
    /// Checks answered without Redis.
    degraded: f64,
    /// Bytes of its journal whose usage is not in the database yet.
    unstored: f64,
}

impl Row {
    pub(crate) fn new(id: Id, name: impl Into<String>, work: Work) -> Self {
        Self {
            id,
            name: name.into(),
            work,
            server: None,
            redis: None,
            queue: None,
            counts: None,
            rounds: Vec::new(),
            answers: 0,
        }
    }

    /// From now on the generator polls.
    pub(crate) fn poll(&mut self) {
        if let Work::Closed(load) = &mut self.work {
            load.idle = Idle::Polls;
        }
    }

    /// Whether the generator polls.
    pub(crate) fn polls(&self) -> bool {
        matches!(&self.work, Work::Closed(Load { idle: Idle::Polls, .. }))
    }

    /// Touches every subject once, and then loads for a while.
    pub(crate) async fn warm_up(&mut self, span: Duration) {
        let once = match &self.work {
            Work::Closed(load) | Work::Paced(load, _) => load.once().await.expect("every request is answered"),
            Work::Script(script) => script.run(None).await,
        };
        self.answers += once.answers + self.load(span).await.answers;
    }

    /// One round.
    pub(crate) async fn measure(&mut self, span: Duration) {
        let counts = self.counts().await;
        let before = (self.cpus(), [busy(SERVER_CORE), busy(REST_CORE)]);
        let seen = self.load(span).await;
        let cores = [busy(SERVER_CORE), busy(REST_CORE)];
        let counted = self.counts().await;
        let cpus = self.cpus();
        assert_eq!(seen.failed, 0, "{}: every answer has the expected status", self.name);
        let per_million = |used: Duration| used.as_secs_f64() * 1e6 / seen.answers as f64;
        let took = seen.answers as f64 / seen.per_second;
        let share = |core: usize| (cores[core] - before.1[core]).as_secs_f64() / took;
        self.answers += seen.answers;
        self.rounds.push(Round {
            seen,
            server: per_million(cpus[0] - before.0[0]),
            redis: per_million(cpus[1] - before.0[1]),
            queue: per_million(cpus[2] - before.0[2]),
            calls: (counted.calls - counts.calls) / seen.answers as f64,
            degraded: counted.degraded - counts.degraded,
            unstored: counted.unstored,
            busy: [share(0), share(1)],
        });
    }

    async fn load(&self, span: Duration) -> Seen {
        let seen = match &self.work {
            Work::Closed(load) => load.closed(span).await,
            Work::Paced(load, per_second) => load.paced(*per_second, span).await,
            Work::Script(script) => return script.run(Some(span)).await,
        };
        seen.expect("every request is answered")
    }

    fn cpus(&self) -> [Duration; 3] {
        [self.server, self.redis, self.queue].map(|pid| pid.map(cpu).unwrap_or_default())
    }

    async fn counts(&self) -> Counts {
        match &self.counts {
            Some(client) => Counts::of(&client.get("/metrics").await.expect(200).text),
            None => Counts::default(),
        }
    }

    /// The middle of the rounds.
    pub(crate) fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<_> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    /// Share of the server's core that went to others, the other servers that stay up included.
    pub(crate) fn taken(&self) -> f64 {
        self.median(|round| round.busy[0] - round.server * round.seen.per_second / 1e6)
    }

    /// Whether the server had time left while the generator's core had none: requests/s tell of the generator then.
    pub(crate) fn is_bound_by_generator(&self) -> bool {
        self.median(|round| round.busy[1]) > 0.97 && self.median(|round| round.busy[0]) < 0.95
    }
}

impl Counts {
    fn of(metrics: &str) -> Self {
        let sum = |name: &str, labels: &[&str]| -> f64 {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            let lines = lines.filter(|line| labels.iter().any(|label| line.contains(label)));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Self {
            calls: sum("tollgate_limiter_store_calls{", &["result"]),
            degraded: sum("tollgate_checks_total{", &["source=\"local\"", "source=\"open\""]),
            unstored: sum("tollgate_journal_lag_bytes{", &["stream=\"usage\""]),
        }
    }
}

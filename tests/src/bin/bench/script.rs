//! Callers of the baseline's script, without HTTP between.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::LocalSet;
use tollgate_tests::{baseline::Baseline, load::Seen};

/// Tasks that share one connection, each with one call under way.
#[derive(Clone)]
pub(crate) struct Script {
    baseline: Baseline,
    subjects: Rc<Vec<String>>,
    callers: usize,
}

impl Script {
    /// `callers` tasks that call for `subjects` subjects in turn.
    pub(crate) fn new(baseline: Baseline, subjects: usize, callers: usize) -> Self {
        let subjects = Rc::new((0..subjects).map(|number| format!("{number:032x}")).collect());
        Self { baseline, subjects, callers }
    }

    /// Calls for `span`; with none, once for each subject.
    pub(crate) async fn run(&self, span: Option<Duration>) -> Seen {
        let started = Instant::now();
        let until = span.map(|span| started + span);
        let tasks = LocalSet::new();
        let running: Vec<_> =
            (0..self.callers).map(|number| tasks.spawn_local(self.clone().caller(number, until))).collect();
        tasks.await;
        let elapsed = started.elapsed();
        let mut micros = Vec::new();
        for task in running {
            micros.extend(task.await.expect("a caller ends"));
        }
        Seen::of(micros, 0, elapsed)
    }

    /// The microseconds of each call.
    async fn caller(self, number: usize, until: Option<Instant>) -> Vec<u32> {
        let mut micros = Vec::with_capacity(1 << 12);
        let (mut at, mut sent) = (number, Instant::now());
        loop {
            let ended = until.map_or(at >= self.subjects.len(), |until| sent >= until);
            if ended {
                return micros;
            }
            let (allowed, _) =
                self.baseline.check(&self.subjects[at % self.subjects.len()]).await.expect("Redis answers");
            assert!(allowed, "the limit is out of reach");
            let received = Instant::now();
            micros.push(u32::try_from((received - sent).as_micros()).unwrap_or(u32::MAX));
            (at, sent) = (at + self.callers, received);
        }
    }
}

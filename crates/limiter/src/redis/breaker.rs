//! The breaker: opens when half of at least twenty calls within one or two seconds failed,
//! never after a single failure.
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// The failure rate of fewer calls means nothing.
const LEAST_CALLS: u32 = 20;
/// Outcomes are counted in two spans of this length: the current one and the previous one.
const SPAN: Duration = Duration::from_secs(1);

/// Counts outcomes of calls. The connection's supervisor probes the server and closes it again.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug)]
struct State {
    open: bool,
    opens: u64,
    since: Instant,
    current: Outcomes,
    previous: Outcomes,
}

#[derive(Debug, Clone, Copy, Default)]
struct Outcomes {
    calls: u32,
    failures: u32,
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        let none = Outcomes::default();
        Self(Mutex::new(State { open: false, opens: 0, since: now, current: none, previous: none }))
    }

    /// Counts one call's outcome; true when this one opened the breaker.
    pub(super) fn record(&self, failed: bool, now: Instant) -> bool {
        let mut state = self.state();
        let age = now.saturating_duration_since(state.since);
        if age >= SPAN {
            state.previous = if age < 2 * SPAN { state.current } else { Outcomes::default() };
            state.current = Outcomes::default();
            state.since = now;
        }
        state.current.calls += 1;
        state.current.failures += u32::from(failed);
        let calls = state.current.calls + state.previous.calls;
        let failures = state.current.failures + state.previous.failures;
        let opens = !state.open && calls >= LEAST_CALLS && failures * 2 >= calls;
        if opens {
            state.trip();
        }
        opens
    }

    /// Opens it whatever the failure rate, because there is no connection.
    pub(super) fn open(&self) {
        let mut state = self.state();
        if !state.open {
            state.trip();
        }
    }

    /// Closes it and resets the counts.
    pub(super) fn close(&self, now: Instant) {
        let mut state = self.state();
        *state = State {
            open: false,
            opens: state.opens,
            since: now,
            current: Outcomes::default(),
            previous: Outcomes::default(),
        };
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    pub(super) fn opens(&self) -> u64 {
        self.state().opens
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn trip(&mut self) {
        self.open = true;
        self.opens += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(breaker: &Breaker, outcomes: &[bool], at: Instant) -> bool {
        outcomes.iter().any(|failed| breaker.record(*failed, at))
    }

    #[test]
    fn it_never_opens_on_one_blip() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        assert!(!after(&breaker, &[true; 19], now));
    }

    #[test]
    fn it_opens_when_half_of_twenty_calls_failed() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        assert!(!after(&breaker, &[false; 10], now));
        assert!(!after(&breaker, &[true; 9], now));
        assert!(after(&breaker, &[true], now));
        assert!(breaker.is_open());
    }

    #[test]
    fn one_failure_in_a_hundred_does_not_open_it() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        for _ in 0..50 {
            assert!(!after(&breaker, &[false; 99], now));
            assert!(!after(&breaker, &[true], now));
        }
    }

    #[test]
    fn failures_of_long_ago_are_forgotten() {
        let now = Instant::now();
        let breaker = Breaker::new(now);
        assert!(!after(&breaker, &[true; 19], now));
        assert!(!after(&breaker, &[true], now + Duration::from_secs(3)));
    }
}

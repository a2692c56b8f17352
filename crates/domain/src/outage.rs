//! When to log that a store is down: at the start, once a minute meanwhile, when the reason changes, and at the end.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// The outage of one store as its caller sees it: when it was last logged, and why.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<(Instant, &'static str)>>);

impl Outage {
    /// Call after a failure for a reason of the kind `why`. True when it should be logged.
    pub fn goes_on(&self, now: Instant, why: &'static str) -> bool {
        let mut last = self.last();
        let is_due =
            last.is_none_or(|(said, before)| before != why || now.saturating_duration_since(said) >= BETWEEN_LINES);
        if is_due {
            *last = Some((now, why));
        }
        is_due
    }

    /// Call after a success. True when an outage had been logged.
    pub fn ends(&self) -> bool {
        self.last().take().is_some()
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, &'static str)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process (`EMFILE`) or the machine (`ENFILE`) has as many files open as it may. Then the server is not at
/// fault. The numbers are the same on every Unix.
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_when_it_begins_once_a_minute_and_when_it_ends() {
        let (outage, start) = (Outage::default(), Instant::now());
        let after = |seconds, why| outage.goes_on(start + Duration::from_secs(seconds), why);
        assert!(!outage.ends(), "it was never away");
        let said: Vec<_> = [0, 1, 59, 60, 61, 119, 120].into_iter().filter(|seconds| after(*seconds, "full")).collect();
        assert_eq!(said, [0, 60, 120]);
        assert!(after(121, "away") && !after(122, "away"), "another reason is said at once");
        assert!(outage.ends() && !outage.ends());
        assert!(after(123, "away"));
    }

    #[test]
    fn a_lack_of_files_is_told_from_other_errors() {
        for (number, expected) in [(24, true), (23, true), (2, false), (111, false)] {
            assert_eq!(is_out_of_files(&io::Error::from_raw_os_error(number)), expected, "{number}");
        }
    }
}

//! When to say that a store is away: when it goes, once a minute meanwhile, when the reason changes, and when it is back.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Whether one store is away, as whoever uses it has seen: when the log last said so, and why.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<(Instant, &'static str)>>);

impl Outage {
    /// A use has failed for a reason of the kind `why`; true when the log should say so.
    pub fn goes_on(&self, now: Instant, why: &'static str) -> bool {
        let mut last = self.last();
        let is_due =
            last.is_none_or(|(said, before)| before != why || now.saturating_duration_since(said) >= BETWEEN_LINES);
        if is_due {
            *last = Some((now, why));
        }
        is_due
    }

    /// A use has succeeded; true when the log said that it was away.
    pub fn ends(&self) -> bool {
        self.last().take().is_some()
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, &'static str)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process (`EMFILE`) or the machine (`ENFILE`) has as many files open as it may: then the other end is not at
/// fault. The numbers are those of every Unix.
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

//! How long a failed job waits for its next attempt.

use std::time::Duration;

/// Longest wait that a job may ask for. The time may come from another system, which must not delay a job for longer.
const MAX_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait of one kind of job: `first` after the first attempt, doubled after each further one, `max` at most. The
/// actual wait is random between half of that and all of it, so that jobs that failed
/// together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// For a job that needs our own stores: soon back after a hiccup, and once a minute while a store is down.
    pub const STORES: Self = Self::new(Duration::from_millis(200), Duration::from_secs(60));

    /// # Panics
    /// When `first` is zero or above `max`. In a constant this is a compile error.
    pub const fn new(first: Duration, max: Duration) -> Self {
        assert!(!first.is_zero() && first.as_nanos() <= max.as_nanos());
        Self { first, max }
    }

    /// The wait after attempt number `attempt`, where `share` from 0 to 1 chooses between half and all of it.
    pub(crate) fn delay(self, attempt: u32, share: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
    }

    /// The wait that a job asks for, at least `first` and at most a day. Without the lower bound, a server that always
    /// says "at once" would use up all attempts in a moment.
    pub(crate) fn bounded(self, after: Duration) -> Duration {
        after.max(self.first).min(MAX_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_most_and_keeps_at_least_half() {
        let millis = Duration::from_millis;
        for (attempt, most) in
            [(0, 200), (1, 200), (2, 400), (3, 800), (8, 25_600), (9, 51_200), (10, 60_000), (u32::MAX, 60_000)]
        {
            assert_eq!(Backoff::STORES.delay(attempt, 1.0), millis(most), "attempt {attempt}");
            assert_eq!(Backoff::STORES.delay(attempt, 0.0), millis(most / 2), "attempt {attempt}");
            assert_eq!(Backoff::STORES.delay(attempt, 0.5), millis(most * 3 / 4), "attempt {attempt}");
        }
        let years = Backoff::new(Duration::from_secs(1), Duration::MAX);
        assert_eq!(years.delay(u32::MAX, 1.0), Duration::from_secs(1 << 31));
    }

    #[test]
    fn what_a_job_asks_for_is_kept_within_bounds() {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
        for (after, waited) in [(0, 5), (5, 5), (61, 61), (86_400, 86_400), (86_401, 86_400), (u64::MAX, 86_400)] {
            assert_eq!(backoff.bounded(Duration::from_secs(after)), Duration::from_secs(waited), "after {after} s");
        }
    }
}

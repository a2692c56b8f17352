//! When requests are due at a steady pace. The kernel's timer keeps it: the runtime's own has steps of a millisecond.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Mutex,
};

/// A schedule that many connections take their requests from, in the order in which they are free.
pub(super) struct Pace {
    interval: Duration,
    /// Requests of the whole span.
    total: u64,
    /// Whoever holds it waits for the timer; the others wait for them.
    state: Mutex<State>,
}

struct State {
    timer: AsyncFd<OwnedFd>,
    started: Instant,
    /// Requests that have become due.
    due: u64,
    /// Requests that were taken.
    taken: u64,
}

impl Pace {
    /// `per_second` requests, evenly spaced, for `span` from now.
    pub(super) fn new(per_second: f64, span: Duration) -> io::Result<Self> {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let every = Timespec { tv_sec: 0, tv_nsec: interval.as_nanos().try_into().map_err(io::Error::other)? };
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let started = Instant::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: every, it_value: every })?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may close their descriptor; `OwnedFd` does not"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        let total = (span.as_secs_f64() * per_second) as u64;
        Ok(Self { interval, total, state: Mutex::new(State { timer, started, due: 0, taken: 0 }) })
    }

    /// Waits for the next request that nobody has taken. Returns when it was due; none after the last one.
    pub(super) async fn next(&self) -> io::Result<Option<Instant>> {
        let mut state = self.state.lock().await;
        if state.taken >= self.total {
            return Ok(None);
        }
        while state.due == state.taken {
            state.due += expirations(&state.timer).await?;
        }
        state.taken += 1;
        Ok(Some(state.started + self.interval.mul_f64(state.taken as f64)))
    }
}

/// How often the timer went off since it was last asked; waits until it did.
async fn expirations(timer: &AsyncFd<OwnedFd>) -> io::Result<u64> {
    let mut count = [0; 8];
    let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut count)?);
    timer.async_io(Interest::READABLE, read).await?;
    Ok(u64::from_ne_bytes(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_become_due_at_the_pace_and_end_with_the_span() {
        let pace = Pace::new(1_000.0, Duration::from_millis(50)).unwrap();
        let mut due = Vec::new();
        while let Some(at) = pace.next().await.unwrap() {
            assert!(at <= Instant::now(), "nothing is handed out before it is due");
            due.push(at);
        }
        assert_eq!(due.len(), 50);
        assert!(due.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(1)), "{due:?}");
    }
}

//! Waiting for a condition with a deadline: the only way a story waits.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use crate::stall::Stall;

/// Between two looks: short compared with every promise, long enough to leave the processor to what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A pause is this many times as long as the look before it.
const LOOK_SHARE: u32 = 10;
/// For what takes moments and of which no time is promised: only something that hangs takes longer, on any machine.
pub const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Looks until there is something to see. Panics with `what` after `within`, which promises nothing: it ends what hangs, and
/// is [`HANGS_AFTER`] unless something is known to take long.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks until there is something to see, which `promise` after the call is there: panics with `what` if a look sees nothing
/// that was begun later, by more than the machine kept this process from running. Says so when the machine was the reason.
pub async fn within_promise<T>(what: &str, promise: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let (stall, started) = (Stall::measure(), Instant::now());
    let mut late = None;
    loop {
        let (began, stalled) = (started.elapsed(), stall.so_far());
        if let Some(seen) = look().await {
            if let Some((missed, stalled)) = late {
                eprintln!(
                    "seen after {began:.2?}, not yet after {missed:.2?}; the machine stood still for {stalled:.2?} of it: {what}"
                );
            }
            return seen;
        }
        if began > promise {
            assert!(
                began.saturating_sub(stalled) <= promise && began < HANGS_AFTER,
                "promised within {promise:.2?} and not there after {began:.2?}, of which the machine stood still for {stalled:.2?}: {what}"
            );
            late = Some((began, stalled));
        }
        // On a loaded machine a look takes long because its own steps wait for a processor. Were there nothing but looks, that
        // would be all that is measured, and would excuse a service that does nothing meanwhile.
        let pause = LOOK_SHARE * (started.elapsed() - began);
        tokio::time::sleep(pause.clamp(LOOK_EVERY, LOOK_EVERY.max(promise / 4))).await;
    }
}

/// Awaits what is promised to end within `promise`: panics with `what` if it took longer, by more than the machine kept this
/// process from running. Says so when the machine was the reason.
pub async fn ends_within_promise<T>(what: &str, promise: Duration, work: impl Future<Output = T>) -> T {
    let (stall, started) = (Stall::measure(), Instant::now());
    let done = work.await;
    let took = started.elapsed();
    if took > promise {
        let stalled = stall.so_far();
        assert!(
            took.saturating_sub(stalled) <= promise,
            "promised within {promise:.2?} and took {took:.2?}, of which the machine stood still for {stalled:.2?}: {what}"
        );
        eprintln!("took {took:.2?}; the machine stood still for {stalled:.2?} of it: {what}");
    }
    done
}

/// [`eventually`] for code that is not async: the start of a server.
pub fn eventually_blocking<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A port that nothing listens on now. Another process may take it first: whoever uses it tries again.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback interface");
    listener.local_addr().expect("a bound socket has an address").port()
}

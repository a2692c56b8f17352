//! Waiting for a condition with a deadline: the only way a story waits.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

/// Between two looks: short compared with every promise, long enough to leave the processor to what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to see. Panics with `what` after `within`.
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

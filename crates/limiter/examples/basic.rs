//! Limits in this process: a burst and an hour, decided together. Run: `cargo run --example basic`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use std::time::Duration;

use tollgate_limiter::{Check, HashKey, Limit, Limiter, Options, Quota, Subject, Timestamp, Window};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::memory(&Options::default());
    let limits = [
        Limit::new("burst", Quota::token_bucket(2, Duration::from_secs(1), 5)?),
        Limit::new("per-hour", Quota::sliding_window(100, Window::Every(Duration::from_secs(3600)))?),
    ];
    // A secret of your own: whoever knows it can tell where a name's counters lie.
    let alice = Subject::new(&HashKey::new(*b"0123456789abcdef"), &[b"user", b"alice"]);

    // The caller says what time it is; a test can say what it likes.
    let mut now = Timestamp::from_seconds(1_767_225_600);
    for call in 1..=8 {
        let decision = limiter.check(Check::new(alice, &limits), now).await?;
        let left: Vec<_> = decision.limits.iter().map(|status| (status.index(), status.remaining())).collect();
        println!("call {call}: allowed {}, left {left:?}, retry after {:?}", decision.allowed, decision.retry_after());
        if let Some(wait) = decision.retry_after() {
            now = now.saturating_add(wait);
        }
    }
    Ok(())
}

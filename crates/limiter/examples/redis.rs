//! Limits that several processes share, a reservation, and what happens when Redis is away.
//! Run: `cargo run --example redis -- redis://127.0.0.1/`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use std::time::Duration;

use tollgate_limiter::{
    Calendar, CalendarUnit, Check, HashKey, Limit, Limiter, Mode, OnFailure, Options, Quota, ReservationId, Subject,
    Timestamp, Tz, Window,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1/".to_owned());
    let limiter = Limiter::connect(&url, Options::default()).await?;
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::Europe__Berlin));
    let limits = [
        Limit::new("per-minute", Quota::sliding_window(1_000, Window::Every(Duration::from_secs(60)))?),
        // Overage is billed: counted, never refused. Without the shared count nothing is decided.
        Limit::new("quota", Quota::fixed_window(100_000, month)?)
            .with_mode(Mode::Count)
            .with_on_failure(OnFailure::Deny),
    ];
    let alice = Subject::new(&HashKey::new(*b"0123456789abcdef"), &[b"user", b"alice"]);
    // Redis' own clock decides; this one only serves while Redis is away.
    let now = Timestamp::default();

    match limiter.check(Check::new(alice, &limits).with_cost(10), now).await {
        Ok(decision) => println!("allowed {} by {:?}: {:?}", decision.allowed, decision.source, decision.limits),
        Err(error) => println!("not decided: {error}"),
    }

    // A cost that is known only afterwards.
    let check = Check::new(alice, &limits);
    let hold = ReservationId::new(b"request 42");
    let reserved = limiter.reserve(check.with_cost(500), hold, Duration::from_secs(30), now).await?;
    if reserved.allowed {
        limiter.commit(check.with_cost(137), hold, now).await?;
    }
    println!("{:?}", limiter.stats());
    Ok(())
}

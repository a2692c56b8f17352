//! What a run has shown, as a table in Markdown and the ratios that are promised.

use std::time::Duration;

use tollgate_domain::Clock;
use tollgate_tests::{load::Seen, machine};

use crate::{
    ROUNDS, SPAN,
    options::Options,
    plan::{Bench, CONNECTIONS, MANY},
    row::{Id, Row},
};

/// Servers that wait for their turn ship usage, write snapshots and look for changes meanwhile.
const MAX_TAKEN: f64 = 0.15;

/// Prints all of it.
pub(crate) fn print(bench: &Bench, options: &Options) {
    println!("{}, `make bench`, {}", Clock::System.now().format("%Y-%m-%d"), machine::model());
    println!(
        "{} keys embedded, {CONNECTIONS} connections, server on one core, all else on another; median of {ROUNDS} rounds of {} s\n",
        grouped(options.keys),
        SPAN.as_secs()
    );
    println!(
        "| validate | requests/s | p50 | p99 | p99.9 | server CPU s per million | × bare | Redis CPU s per million \
         | Redis calls per check | cores busy: server's, other |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let [polled, resting] =
        [Id::Bytes, Id::Resting].map(|id| server(bench.row(id).expect("the bare handler is always measured")));
    for row in &bench.rows {
        line(row, if row.polls() { polled } else { resting });
    }
    println!();
    notes(bench);
}

fn line(row: &Row, bare: f64) {
    let when = |there: bool, text: String| if there { text } else { "-".into() };
    let millis = |of| format!("{:.2} ms", millis(row, of));
    let busy = |core: usize| row.median(|round| round.busy[core]) * 100.0;
    println!(
        "| {} | {}{} | {} | {} | {} | {} | {} | {} | {} | {:.0} %, {:.0} % |",
        row.name,
        grouped(row.median(|round| round.seen.per_second) as usize),
        if row.is_bound_by_generator() { " *" } else { "" },
        millis(|seen| seen.p50),
        millis(|seen| seen.p99),
        millis(|seen| seen.p999),
        when(row.server.is_some(), format!("{:.2}", server(row))),
        when(row.server.is_some(), format!("{:.2}", server(row) / bare)),
        when(row.redis.is_some(), format!("{:.2}", redis(row))),
        when(row.counts.is_some(), format!("{:.4}", row.median(|round| round.calls))),
        busy(0),
        busy(1),
    );
}

/// What the lines say together.
fn notes(bench: &Bench) {
    if bench.rows.iter().any(Row::is_bound_by_generator) {
        println!(
            "* The generator's core was full and the server's was not: a faster generator would have seen more requests/s."
        );
    }
    let taken = bench.rows.iter().filter(|row| row.server.is_some()).map(Row::taken).fold(0.0, f64::max);
    if taken > MAX_TAKEN {
        println!(
            "! Others took up to {:.0} % of the server's core: only the processor seconds can be relied on.",
            taken * 100.0
        );
    }
    for row in &bench.rows {
        let degraded: f64 = row.rounds.iter().map(|round| round.degraded).sum();
        if degraded > 0.0 {
            println!("! {}: {} checks were answered without Redis.", row.name, grouped(degraded as usize));
        }
    }
    let unstored =
        bench.rows.iter().filter_map(|row| row.rounds.last()).map(|round| round.unstored).fold(0.0, f64::max);
    if unstored > 0.0 {
        println!("Journal not yet stored in PostgreSQL, which yields to the generator: {:.1} MB", unstored / 1e6);
    }
    for connections in [CONNECTIONS, MANY] {
        if let (Some(ours), Some(script)) = (bench.row(Id::Redis(connections)), bench.row(Id::Script(connections))) {
            let ratio = redis(ours) / redis(script);
            println!("Redis CPU of a check / of one EVALSHA, no HTTP, {connections} connections: {ratio:.2}");
        }
    }
    if let (Some(ours), Some(counted)) = (bench.row(Id::Redis(CONNECTIONS)), bench.row(Id::Counted)) {
        let (of_redis, of_server) = (redis(ours) / redis(counted), server(ours) / server(counted));
        println!("A check / a bare handler with one EVALSHA: Redis CPU {of_redis:.2}, server CPU {of_server:.2}");
    }
    for row in bench.rows.iter().filter(|row| row.queue.is_some()) {
        println!("{}: the queue's Redis {:.2} s per million", row.name, row.median(|round| round.queue));
    }
    for report in &bench.reports {
        println!("{report}");
    }
    logging(bench);
    if let (Some(bare), Some(ours)) = (bench.row(Id::PacedBare), bench.row(Id::PacedRedis)) {
        let (bare, ours) = (millis(bare, |seen| seen.p99), millis(ours, |seen| seen.p99));
        println!("p99 at half load: {ours:.2} ms, bare handler {bare:.2} ms: {:+.2} ms", ours - bare);
    }
}

fn logging(bench: &Bench) {
    let (Some(silent), Some(every)) = (bench.row(Id::Silent), bench.row(Id::EveryLine)) else { return };
    let more = |row: &Row| (server(row) / server(silent) - 1.0) * 100.0;
    if let Some(default) = bench.row(Id::Embedded) {
        println!("Server CPU with every 100th check logged: {:+.1} % over none", more(default));
    }
    let written = bench.every_line.as_ref().map_or(0, |shape| shape.api.lines_with("rate-limit/validate"));
    println!(
        "Server CPU with every check logged: {:+.1} % over none; {} lines for {} checks",
        more(every),
        grouped(written),
        grouped(every.answers)
    );
}

fn server(row: &Row) -> f64 {
    row.median(|round| round.server)
}

fn redis(row: &Row) -> f64 {
    row.median(|round| round.redis)
}

fn millis(row: &Row, of: fn(&Seen) -> Duration) -> f64 {
    row.median(|round| of(&round.seen).as_secs_f64() * 1e3)
}

/// A whole number with commas between its thousands.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

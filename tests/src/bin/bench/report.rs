//! What a line of the table does not tell: memory, and whether what is counted keeps up with what is decided.

use std::{rc::Rc, time::Duration};

use tollgate_tests::{
    answer::Client,
    load,
    machine::{cpu, cpu_of_family, resident},
};

use crate::{
    plan::{CONNECTIONS, allowed},
    shapes::{Behind, Priority, Shape},
    table::grouped,
};

/// Checks per second at which the database is to keep up, and for how long: each key is written several times.
const PACE: f64 = 30_000.0;
const PACED_FOR: Duration = Duration::from_secs(60);
/// Between two questions for metrics.
const SAMPLE: Duration = Duration::from_millis(500);
/// A backlog is to be gone by then.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// What the embedded service has in memory, before and after it was loaded.
pub(crate) fn memory(pid: u32, (idle, idle_own): (u64, u64)) -> String {
    let (loaded, loaded_own) = resident(pid);
    let [idle, idle_own, loaded, loaded_own] = [idle, idle_own, loaded, loaded_own].map(|bytes| bytes as f64 / 1e6);
    format!(
        "Embedded in memory: {idle:.0} MB when ready ({idle_own:.0} without parts of files), {loaded:.0} MB after the load \
         ({loaded_own:.0} without parts of files)"
    )
}

/// How long it takes after the load until all is in the tables.
pub(crate) async fn backlog(shape: &Shape) -> String {
    let client = shape.api.client();
    let requests = Rc::new(load::requests(&shape.far));
    allowed(shape.address(), requests, CONNECTIONS)
        .closed(Duration::from_secs(10))
        .await
        .expect("every request is answered");
    let began = std::time::Instant::now();
    let mut folded = metric(&client, "tollgate_usage_folded_keys_total").await;
    let (mut shipped_after, mut last_change) = (None, Duration::ZERO);
    while began.elapsed() < SETTLED_WITHIN && began.elapsed() - last_change < Duration::from_secs(5) {
        tokio::time::sleep(SAMPLE).await;
        let now = metric(&client, "tollgate_usage_folded_keys_total").await;
        if now > folded {
            (folded, last_change) = (now, began.elapsed());
        }
        if shipped_after.is_none() && metric(&client, "tollgate_journal_lag_bytes{stream=\"usage\"}").await == 0.0 {
            shipped_after = Some(began.elapsed());
        }
    }
    let shipped = shipped_after.map_or("not".to_owned(), |after| format!("{:.1} s", after.as_secs_f64()));
    format!(
        "Embedded, {} keys in use, after 10 s of full load: all is in the database after {shipped}, in the tables after {:.1} s",
        grouped(shape.far.len()),
        last_change.as_secs_f64()
    )
}

/// PostgreSQL, the worker and the journal at a steady pace over very many keys.
pub(crate) async fn active(keys: usize) -> String {
    let shape = Shape::start(keys, Priority::Ordinary).await.expect("PostgreSQL and Redis are installed");
    let Some(Behind { worker, postgres, .. }) = &shape.behind else { unreachable!("production's shape") };
    let client = shape.api.client();
    let load = allowed(shape.address(), Rc::new(load::requests(&shape.far)), CONNECTIONS);
    load.once().await.expect("every request is answered");
    let used = || [cpu_of_family(postgres.pid()), cpu(worker.pid()), cpu(shape.api.pid())];
    let before = used();
    let (mut lag, mut lag_bytes) = (0.0_f64, 0.0_f64);
    let watched = async {
        loop {
            tokio::time::sleep(SAMPLE).await;
            lag = lag.max(metric(&client, "tollgate_journal_lag_seconds").await);
            lag_bytes = lag_bytes.max(metric(&client, "tollgate_journal_lag_bytes{stream=\"usage\"}").await);
        }
    };
    let seen = tokio::select! { seen = load.paced(PACE, PACED_FOR) => seen.expect("every request is answered"), () = watched => unreachable!("it has no end") };
    let after = used();
    let [postgres, worker, api] =
        std::array::from_fn(|at| (after[at] - before[at]).as_secs_f64() * 1e6 / seen.answers as f64);
    format!(
        "PostgreSQL and Redis, {} keys in use at {}/s for {} s: the journal lags by {lag:.1} s and {:.1} MB at most; per million \
         checks PostgreSQL takes {postgres:.1} CPU s, the worker {worker:.1}, the API {api:.1}; p99 {:.1} ms",
        grouped(keys),
        grouped(seen.per_second as usize),
        PACED_FOR.as_secs(),
        lag_bytes / 1e6,
        seen.p99.as_secs_f64() * 1e3
    )
}

/// Memory per key that a node holds.
pub(crate) async fn held(keys: usize) -> String {
    let shape = Shape::start(keys, Priority::Ordinary).await.expect("PostgreSQL and Redis are installed");
    let (_, before) = resident(shape.api.pid());
    let load = allowed(shape.address(), Rc::new(load::requests(&shape.far)), CONNECTIONS);
    load.once().await.expect("every request is answered");
    let (_, after) = resident(shape.api.pid());
    let held = metric(&shape.api.client(), "tollgate_key_cache_entries").await;
    format!(
        "{} keys held by a node on Redis: {:.0} bytes each",
        grouped(held as usize),
        (after.saturating_sub(before)) as f64 / held
    )
}

async fn metric(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").await.expect(200).text;
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

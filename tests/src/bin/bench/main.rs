//! `make bench`: what a check costs, embedded and on Redis, compared with a bare axum handler, in one run on this machine.
//!
//! The server under load has core 0; the generator, Redis, PostgreSQL and the worker share core 1 (this process is started
//! there and they inherit it), PostgreSQL and the worker only while it is idle. All servers stay up and take turns, so a
//! slow minute of the machine hits all of them.
//! Reading order: [`options`] → [`shapes`] (services and what they stand on) → [`bare`] → [`row`] (one line of the table:
//! what is loaded and measured) → [`report`] (what a line does not tell) → [`plan`] (which lines) → [`table`].

mod bare;
mod keys;
mod options;
mod plan;
mod report;
mod row;
mod script;
mod shapes;
mod table;

use std::time::Duration;

use options::Options;
use plan::Bench;

const ROUNDS: usize = 5;
const SPAN: Duration = Duration::from_secs(4);
/// Enough for every connection's code and every store's pages to be in the caches.
const WARM_UP: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::read();
    let mut bench = Bench::set_up(&options).await;
    bench.warm_up().await;
    bench.measure().await;
    bench.measure_paced().await;
    bench.report(&options).await;
    table::print(&bench, &options);
}

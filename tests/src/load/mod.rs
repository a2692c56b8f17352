//! A load generator that costs less than what it measures: keep-alive connections on one thread.
//!
//! [`Load::closed`]: each connection sends a request as soon as the last one was answered, which finds the most that a
//! server can do. [`Load::paced`]: requests are due at a steady pace whether answers come or not, which is how latency at
//! a given load is told; one that waits for a free connection has waited since it was due.

mod connection;
mod pace;

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::{JoinHandle, LocalSet};

pub use self::connection::requests;
use self::{connection::Connection, pace::Pace};

/// What is asked, of whom, and over how many connections.
#[derive(Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// The bytes of each request. Each connection has its own share of them, in turn.
    pub requests: Rc<Vec<Vec<u8>>>,
    /// Connections at once.
    pub connections: usize,
    /// The status that every answer should have.
    pub status: u16,
    /// What the generator does when no answer is there.
    pub idle: Idle,
}

/// What the generator does while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// It polls. It needs a core of its own, and then a server pays nothing for waking it: an interrupt of another core at
    /// nearly every answer, which on a virtual machine is a quarter of a check, and which the slower server pays more often.
    Polls,
    /// It sleeps, and leaves its core to a store.
    Sleeps,
}

/// What one span of load saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Answers per second.
    pub per_second: f64,
    /// Answers.
    pub answers: usize,
    /// Answers with another status than the expected one.
    pub failed: usize,
    /// Half of the answers came within this.
    pub p50: Duration,
    /// 99 of 100 answers came within this.
    pub p99: Duration,
    /// 999 of 1,000 answers came within this.
    pub p999: Duration,
}

impl Load {
    /// As much as the connections can carry, for `span`.
    pub async fn closed(&self, span: Duration) -> io::Result<Seen> {
        let until = Instant::now() + span;
        self.closed_while(move |sent| sent < until).await
    }

    /// The same for as long as `goes_on`, which is told when the next request is to be sent.
    pub async fn closed_while(&self, goes_on: impl Fn(Instant) -> bool + 'static) -> io::Result<Seen> {
        self.spread(async move |connection, load, number| {
            let mut sent = Instant::now();
            let mut share = load.share(number).cycle();
            while let Some(at) = share.next().filter(|_| goes_on(sent)) {
                sent = connection.ask(&load.requests[at], sent).await?;
            }
            Ok(())
        })
        .await
    }

    /// Each request once, a connection's after another.
    pub async fn once(&self) -> io::Result<Seen> {
        let all = Self { connections: self.connections.min(self.requests.len()), ..self.clone() };
        all.spread(async |connection, load, number| {
            for at in load.share(number) {
                connection.ask(&load.requests[at], Instant::now()).await?;
            }
            Ok(())
        })
        .await
    }

    /// `per_second` requests, evenly spaced, for `span`.
    pub async fn paced(&self, per_second: f64, span: Duration) -> io::Result<Seen> {
        let pace = Rc::new(Pace::new(per_second, span)?);
        self.spread(async move |connection, load, number| {
            for at in load.share(number).cycle() {
                let Some(due) = pace.next().await? else { break };
                connection.ask(&load.requests[at], due).await?;
            }
            Ok(())
        })
        .await
    }

    /// Which requests are the connection's. With more connections than requests, several share one.
    fn share(&self, number: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        (number % self.requests.len()..self.requests.len()).step_by(self.connections)
    }

    /// Runs `work` on each of the connections at once.
    async fn spread(
        &self,
        work: impl AsyncFn(&mut Connection, &Self, usize) -> io::Result<()> + 'static,
    ) -> io::Result<Seen> {
        let started = Instant::now();
        let (tasks, work) = (LocalSet::new(), Rc::new(work));
        let one = |number| {
            let (load, work) = (self.clone(), Rc::clone(&work));
            tasks.spawn_local(async move {
                let mut connection = Connection::open(load.address, load.status).await?;
                work(&mut connection, &load, number).await?;
                Ok::<_, io::Error>((connection.micros, connection.failed))
            })
        };
        let running: Vec<_> = (0..self.connections).map(one).collect();
        if self.idle == Idle::Polls {
            tasks.run_until(polling(&running)).await;
        }
        tasks.await;
        let elapsed = started.elapsed();
        let (mut micros, mut failed) = (Vec::new(), 0);
        for task in running {
            let (of_one, failed_of_one) = task.await.map_err(io::Error::other)??;
            micros.extend(of_one);
            failed += failed_of_one;
        }
        Ok(Seen::of(micros, failed, elapsed))
    }
}

/// Keeps the thread from sleeping until all are done.
async fn polling<T>(running: &[JoinHandle<T>]) {
    while !running.iter().all(JoinHandle::is_finished) {
        tokio::task::yield_now().await;
    }
}

impl Seen {
    /// Of each answer's microseconds, in any order.
    pub fn of(mut micros: Vec<u32>, failed: usize, elapsed: Duration) -> Self {
        micros.sort_unstable();
        let quantile = |q: f64| {
            let at = ((micros.len() as f64 * q) as usize).min(micros.len().saturating_sub(1));
            Duration::from_micros(u64::from(micros.get(at).copied().unwrap_or(0)))
        };
        let per_second = micros.len() as f64 / elapsed.as_secs_f64();
        Self {
            per_second,
            answers: micros.len(),
            failed,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
        }
    }
}

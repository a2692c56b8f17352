//! The lines of the table, and the order in which they are measured.

use std::{net::SocketAddr, rc::Rc};

use tollgate_tests::{
    baseline::Baseline,
    load::{self, Idle, Load},
    postgres::Postgres,
    redis::Redis,
};

use crate::{
    ROUNDS, SPAN, WARM_UP,
    bare::{Bare, Bytes},
    options::{Group, Options},
    report,
    row::{Id, Row, Work},
    script::Script,
    shapes::Shape,
    table::grouped,
};

/// Connections, unless a line says otherwise.
pub(crate) const CONNECTIONS: usize = 64;
/// A second width, where calls share round trips more.
pub(crate) const MANY: usize = 256;

/// All that is measured. What serves ends with it.
pub(crate) struct Bench {
    pub(crate) rows: Vec<Row>,
    /// The service that writes a line for each check.
    pub(crate) every_line: Option<Shape>,
    bares: Vec<Bare>,
    shapes: Vec<Shape>,
    redis: Option<Redis>,
    paced: bool,
    /// What was measured in another way than the lines.
    pub(crate) reports: Vec<String>,
    /// The embedded service: its process, and its memory before it was used.
    embedded: Option<(u32, (u64, u64))>,
    active: Option<Shape>,
}

impl Bench {
    /// Starts all servers, one after another.
    pub(crate) async fn set_up(options: &Options) -> Self {
        let embedded = Shape::embedded(options.keys, None).await;
        let bytes = Bytes::of(&embedded.answer().await);
        let paced = options.wants(Group::Paced);
        let mut bench = Self {
            rows: Vec::new(),
            every_line: None,
            bares: Vec::new(),
            shapes: Vec::new(),
            redis: None,
            paced,
            reports: Vec::new(),
            embedded: None,
            active: None,
        };
        let requests = Rc::new(load::requests(&embedded.far));
        bench.bare(Id::Bytes, "bare axum handler, same body and headers", bytes.all(), Rc::clone(&requests));
        bench.bare(Id::Body, "bare axum handler, same body only", bytes.body(), requests);
        for row in &mut bench.rows {
            row.poll();
        }
        if options.wants(Group::Embedded) {
            let name = "embedded: SQLite, memory; every 100th check logged (default)";
            bench.rows.push(embedded_row(Id::Embedded, name, &embedded));
        }
        let process = (embedded.api.pid(), embedded.idle_memory);
        bench.shapes.push(embedded);
        bench.embedded = Some(process);
        if options.wants(Group::Active) {
            let active = Shape::embedded(options.active, None).await;
            let name = format!("embedded: {} keys, all in use", grouped(options.active));
            bench.rows.push(embedded_row(Id::Active, &name, &active));
            bench.active = Some(active);
        }
        if options.wants(Group::Log) {
            bench.log(options).await;
        }
        bench.rest();
        let on_redis = [Group::Redis, Group::Hot, Group::Over];
        if on_redis.into_iter().any(|group| options.wants(group)) {
            bench.production(options).await;
        }
        if options.wants(Group::Evalsha) && Redis::is_installed() {
            bench.evalsha(options, &bytes).await;
        }
        bench
    }

    fn bare(&mut self, id: Id, name: &str, bare: Bare, requests: Rc<Vec<Vec<u8>>>) {
        let work = Work::Closed(allowed(bare.address, requests, CONNECTIONS));
        self.rows.push(Row { server: Some(bare.pid()), ..Row::new(id, name, work) });
        self.bares.push(bare);
    }

    /// The bare handler once more, for the rows whose generator leaves its core to Redis.
    fn rest(&mut self) {
        let Some(bare) = self.row(Id::Bytes) else { return };
        let Work::Closed(load) = &bare.work else { return };
        let work = Work::Closed(Load { idle: Idle::Sleeps, ..load.clone() });
        let name = "bare axum handler, same body and headers, generator sleeps";
        let row = Row { server: bare.server, ..Row::new(Id::Resting, name, work) };
        self.rows.push(row);
    }

    async fn log(&mut self, options: &Options) {
        let silent = Shape::embedded(options.keys, Some(0)).await;
        self.rows.push(embedded_row(Id::Silent, "embedded, no successful check logged", &silent));
        self.shapes.push(silent);
        let every_line = Shape::embedded(options.keys, Some(1)).await;
        self.rows.push(embedded_row(Id::EveryLine, "embedded, every check logged", &every_line));
        self.every_line = Some(every_line);
    }

    async fn production(&mut self, options: &Options) {
        let wants_many = options.wants(Group::Redis);
        let Some(shape) = Shape::production(if wants_many { options.subjects } else { 1 }).await else { return };
        let mut row = |id, name: String, load| {
            let server = Some(shape.api.pid());
            let [redis, queue] = [&shape.redis, &shape.queue].map(|redis| redis.as_ref().map(Redis::pid));
            let counts = Some(shape.api.client());
            self.rows.push(Row { server, redis, queue, counts, ..Row::new(id, name, Work::Closed(load)) });
        };
        if wants_many {
            let requests = Rc::new(load::requests(&shape.plain));
            for connections in [CONNECTIONS, MANY] {
                let name = format!("Redis: {} subjects, {connections} connections", grouped(options.subjects));
                row(Id::Redis(connections), name, allowed(shape.address(), Rc::clone(&requests), connections));
            }
            let requests = Rc::new(load::requests(&shape.far));
            let name = format!("the same with a quota, {CONNECTIONS} connections");
            row(Id::Quota, name, allowed(shape.address(), requests, CONNECTIONS));
        }
        if options.wants(Group::Hot) {
            let requests = Rc::new(load::requests(&shape.far[..1]));
            row(
                Id::Hot,
                "Redis: one subject far from its limit".into(),
                Load { idle: Idle::Polls, ..allowed(shape.address(), requests, CONNECTIONS) },
            );
        }
        if options.wants(Group::Over) {
            let requests = Rc::new(load::requests(&shape.over));
            let load = Load { status: 429, idle: Idle::Polls, ..allowed(shape.address(), requests, CONNECTIONS) };
            row(Id::Over, "Redis: one subject over its limit (429)".into(), load);
        }
        self.shapes.push(shape);
    }

    async fn evalsha(&mut self, options: &Options, bytes: &Bytes) {
        let redis = Redis::start();
        let baseline = Baseline::connect(&redis.url_of(0)).await.expect("Redis answers");
        let server = Some(redis.pid());
        for callers in [CONNECTIONS, MANY] {
            let name =
                format!("one EVALSHA per check, no HTTP: {} subjects, {callers} callers", grouped(options.subjects));
            let work = Work::Script(Script::new(baseline.clone(), options.subjects, callers));
            self.rows.push(Row { redis: server, ..Row::new(Id::Script(callers), name, work) });
        }
        let subjects: Vec<_> = (0..options.subjects).map(|number| format!("{number:032x}")).collect();
        let requests = Rc::new(load::requests(&subjects));
        let name = format!("bare axum handler and one EVALSHA per check: {} subjects", grouped(options.subjects));
        self.bare(Id::Counted, &name, bytes.counted(&redis.url_of(0)), requests);
        self.rows.last_mut().expect("the line just added").redis = server;
        self.redis = Some(redis);
    }

    /// Every subject of every line is known to its server from here on.
    pub(crate) async fn warm_up(&mut self) {
        for row in &mut self.rows {
            row.warm_up(WARM_UP).await;
        }
    }

    /// All lines take turns.
    pub(crate) async fn measure(&mut self) {
        for round in 1..=ROUNDS {
            eprintln!("round {round} of {ROUNDS}");
            for row in &mut self.rows {
                row.measure(SPAN).await;
            }
        }
    }

    /// What is told by other figures than a line's: each alone, after all lines.
    pub(crate) async fn report(&mut self, options: &Options) {
        if let Some((pid, idle)) = self.embedded {
            self.reports.push(report::memory(pid, idle));
        }
        if let Some(active) = &self.active {
            let report = report::backlog(active).await;
            self.reports.push(report);
        }
        if options.wants(Group::Active) && Postgres::is_installed() && Redis::is_installed() {
            let report = report::active(options.active).await;
            self.reports.push(report);
        }
        if options.wants(Group::Held) && Postgres::is_installed() && Redis::is_installed() {
            let report = report::held(options.held).await;
            self.reports.push(report);
        }
    }

    /// The service on Redis and the bare handler take turns at half of the most that the service did.
    pub(crate) async fn measure_paced(&mut self) {
        let Some(redis) = self.row(Id::Redis(CONNECTIONS)).filter(|_| self.paced) else { return };
        let half = redis.median(|round| round.seen.per_second) / 2.0;
        let bare = self.row(Id::Resting).expect("the bare handler is always measured");
        let paced = |row: &Row, id, name: &str| {
            let Work::Closed(load) = &row.work else { unreachable!("both are closed loops") };
            let counts = row.counts.clone();
            Row {
                server: row.server,
                redis: row.redis,
                queue: row.queue,
                counts,
                ..Row::new(id, name, Work::Paced(load.clone(), half))
            }
        };
        let name = format!("{}, at half of its most", redis.name);
        let mut pair =
            [paced(bare, Id::PacedBare, "bare axum handler at the same pace"), paced(redis, Id::PacedRedis, &name)];
        for _ in 0..ROUNDS {
            for row in &mut pair {
                row.measure(SPAN).await;
            }
        }
        self.rows.extend(pair);
    }

    /// The line, if it was measured.
    pub(crate) fn row(&self, id: Id) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }
}

fn embedded_row(id: Id, name: &str, shape: &Shape) -> Row {
    let load = allowed(shape.address(), Rc::new(load::requests(&shape.far)), CONNECTIONS);
    let mut row = Row { server: Some(shape.api.pid()), ..Row::new(id, name, Work::Closed(load)) };
    row.poll();
    row
}

pub(crate) fn allowed(address: SocketAddr, requests: Rc<Vec<Vec<u8>>>, connections: usize) -> Load {
    Load { address, requests, connections, status: 200, idle: Idle::Sleeps }
}

//! A database of a test's own, on the PostgreSQL of the whole run.
//!
//! nextest runs every test in a process of its own, so that server belongs to the run and not to a process: the first test
//! starts it under a file lock, and its guard stops it when the run is over, however the run ends.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use uuid::Uuid;

use crate::{
    guard::Life,
    postgres::{Postgres, binary, execute},
};

/// Removed on drop while its server runs.
pub struct Database {
    name: String,
    port: u16,
}

impl Database {
    /// An empty one on the run's server.
    pub fn create() -> Self {
        Self::on(Run::locked().port(), "template1")
    }

    /// A copy of the run's database `template`, which the first caller of the run has `fill` make from an empty one.
    /// A copy can be made of what nobody is connected to: `fill` closes its connections.
    pub async fn copy_of(template: &str, fill: impl AsyncFnOnce(&str)) -> Self {
        let run = Run::locked();
        let (port, filled) = (run.port(), run.dir.join(format!("has-{template}")));
        if !filled.exists() {
            make(port, template, "template1");
            fill(&url(port, template)).await;
            File::create(filled).expect("the template is noted");
        }
        Self::on(port, template)
    }

    pub(crate) fn on(port: u16, template: &str) -> Self {
        let name = format!("t_{}", Uuid::new_v4().simple());
        make(port, &name, template);
        Self { name, port }
    }

    /// Its address.
    pub fn url(&self) -> String {
        url(self.port, &self.name)
    }

    /// Its address through `port`, where a proxy or a pooler listens.
    pub fn url_through(&self, port: u16) -> String {
        url(port, &self.name)
    }

    /// Its server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that it holds, as SQL.
    pub fn dump(&self) -> Vec<u8> {
        let dumped = Command::new(binary("pg_dump")).arg(self.url()).output().expect("pg_dump starts");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that the test stopped has nothing to drop.
        let _gone = execute(self.port, &format!("drop database if exists {} with (force)", self.name));
    }
}

fn make(port: u16, name: &str, template: &str) {
    let made = execute(port, &format!("create database {name} template {template}"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// What the processes of one test run share. Others of the run wait until it is dropped.
struct Run {
    dir: PathBuf,
    watched: u32,
    _lock: File,
}

impl Run {
    fn locked() -> Self {
        let (run, watched) = match std::env::var("NEXTEST_RUN_ID") {
            Ok(run) => (run, std::os::unix::process::parent_id()),
            Err(_) => (std::process::id().to_string(), std::process::id()),
        };
        let dir = std::env::temp_dir().join(format!("tollgate-tests-{run}"));
        fs::create_dir_all(&dir).expect("a temporary folder");
        let lock = File::create(dir.join("lock")).expect("a lock file");
        // Blocks this thread while another test starts the server: there is nothing else to do meanwhile.
        lock.lock().expect("the lock of the run's server");
        Self { dir, watched, _lock: lock }
    }

    /// The port of the run's server, which the first caller of the run starts.
    fn port(&self) -> u16 {
        let noted = self.dir.join("port");
        if let Ok(text) = fs::read_to_string(&noted) {
            return text.parse().expect("a port");
        }
        let postgres = Postgres::start_in(self.dir.clone(), Life::Process(self.watched));
        let port = postgres.port();
        fs::write(noted, port.to_string()).expect("the port is noted");
        postgres.leave_running();
        port
    }
}

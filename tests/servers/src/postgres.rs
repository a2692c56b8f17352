//! A real PostgreSQL in a temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::{
    account::{hand_over, unprivileged},
    database::Database,
    guard::{EndWith, Guarded, Life, signal},
    wait::{eventually_blocking, free_port},
};

const START_WITHIN: Duration = Duration::from_secs(30);

/// A server of a test's own, which it may break. Ended and removed on drop.
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    life: Life,
    server: Option<Guarded>,
}

impl Postgres {
    /// Whether this machine has a PostgreSQL server.
    pub fn is_installed() -> bool {
        bin_dir().is_some()
    }

    /// A server with nothing in it.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("tollgate-postgres-").tempdir().expect("a temporary folder");
        Self::start_in(dir.keep(), Life::ThisProcess)
    }

    pub(crate) fn start_in(dir: PathBuf, life: Life) -> Self {
        hand_over(&dir);
        init(&dir.join("data"));
        let mut postgres = Self { dir, port: free_port(), life, server: None };
        postgres.restart();
        postgres
    }

    /// An empty database on this server.
    pub fn database(&self) -> Database {
        Database::on(self.port, "template1")
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's first process, whose children the others are.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a running server").id()
    }

    /// Lets sessions from now on give way to all else on their core.
    pub fn be_yielding(&self) {
        let told = Command::new("chrt").args(["--idle", "--pid", "0", &self.pid().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()), "chrt (Debian package util-linux) cannot change a child");
    }

    /// Stops (`STOP`) or resumes (`CONT`) every process of the server.
    pub fn signal_all(&self, name: &str) {
        let pid = self.pid().to_string();
        signal(self.pid(), name);
        // Its children do not start others.
        let told = Command::new("pkill").args(["--signal", name, "--parent", &pid]).status();
        assert!(told.is_ok_and(|status| status.success()), "pkill (Debian package procps) finds no child of {pid}");
    }

    /// Starts the server again on its port, with its data.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = unprivileged(binary("postgres"));
        command
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&self.dir)
            // No fsync: the machine does not crash. But commits reach the kernel, because stories kill the server.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=400", "-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal"]);
        if matches!(self.life, Life::Process(_)) {
            // It outlives this process, and so the signals to its group.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let server = Guarded::spawn(&mut command, EndWith::Quit, self.life, &self.dir);
        self.server = Some(server.expect("postgres starts"));
        eventually_blocking("PostgreSQL accepts connections", START_WITHIN, || is_ready(self.port).then_some(()));
    }

    /// Ends the server at once, as a crash would: its port refuses.
    pub fn stop(&mut self) {
        drop(self.server.take());
    }

    /// Leaves the server to its guard, which ends it with the process that it was told to outlive.
    pub(crate) fn leave_running(self) {
        std::mem::forget(self);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        // What is left in a temporary folder does no harm; a second panic would hide the first.
        let _left = fs::remove_dir_all(&self.dir);
    }
}

fn init(data: &Path) {
    // A locale that does not order by bytes, so that a text column whose order matters has to say so.
    let made = unprivileged(binary("initdb"))
        .arg("-D")
        .arg(data)
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"])
        .args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"])
        .stdin(Stdio::null())
        .output()
        .expect("initdb starts");
    assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
}

fn is_ready(port: u16) -> bool {
    let asked = Command::new(binary("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()])
        .status();
    asked.is_ok_and(|status| status.success())
}

/// Runs a statement on the server at `port`, in no database of a test's.
pub(crate) fn execute(port: u16, sql: &str) -> Output {
    Command::new(binary("psql"))
        .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres", "-d", "postgres", "-c", sql])
        .stdin(Stdio::null())
        .output()
        .expect("psql starts")
}

/// The newest of Debian's installations, else whatever stands in `PATH`.
fn bin_dir() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("postgres").exists()).max();
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.or_else(|| std::env::split_paths(&path).find(|dir| dir.join("postgres").exists()))
}

/// One of PostgreSQL's programs.
pub(crate) fn binary(name: &str) -> PathBuf {
    bin_dir().expect("PostgreSQL is not installed: install the Debian package postgresql").join(name)
}

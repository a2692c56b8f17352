//! A real PostgreSQL: one server for a whole test run, a database per story, each a copy of a migrated template.
//!
//! nextest runs every test in a process of its own, so the server belongs to the run and not to a process: the first test
//! starts it under a file lock, and a watcher outside the tests stops it when the run is over, however the run ends.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tollgate_repository::Repository;

use crate::wait::{eventually_blocking, free_port};

const START_WITHIN: Duration = Duration::from_secs(30);
const TEMPLATE: &str = "tollgate_template";
/// Stops the server and removes its folder once the process that runs the tests is gone.
const WATCHER: &str =
    "while kill -0 \"$1\" 2>/dev/null; do sleep 0.2; done; kill -QUIT \"$2\"; sleep 0.5; rm -rf \"$3\"";

/// A server of a story's own, which it may break. Killed and removed on drop.
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// An empty, migrated database. Removed on drop while its server runs.
pub struct Database {
    name: String,
    port: u16,
}

impl Database {
    /// A new database on the run's server.
    pub async fn create() -> Self {
        Self::on(shared_port().await).await
    }

    async fn on(port: u16) -> Self {
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&url(port, "postgres")).await.expect("PostgreSQL answers");
        let sql = format!("create database {name} template {TEMPLATE}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("a database from the template");
        Self { name, port }
    }

    /// Its address.
    pub fn url(&self) -> String {
        url(self.port, &self.name)
    }

    /// All that it holds, as SQL.
    pub fn dump(&self) -> Vec<u8> {
        let dumped = Command::new(binary("pg_dump")).arg(self.url()).output().expect("pg_dump starts");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }

    /// Its address through `port`, where a proxy listens.
    pub fn url_through(&self, port: u16) -> String {
        url(port, &self.name)
    }

    /// Its server's port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let port = self.port.to_string();
        let sql = format!("drop database if exists {} with (force)", self.name);
        // A server that the story stopped has nothing to drop.
        let _gone = Command::new(binary("psql"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", &sql])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Postgres {
    /// Whether this machine has a PostgreSQL server.
    pub fn is_installed() -> bool {
        bin_dir().is_some()
    }

    /// A server of its own with a migrated template.
    pub async fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("tollgate-postgres-{}", uuid::Uuid::new_v4().simple()));
        let postgres = Self::start_in(dir).await;
        make_template(postgres.port).await;
        postgres
    }

    async fn start_in(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a temporary folder");
        hand_over(&dir);
        init(&dir.join("data"));
        let mut postgres = Self { dir, port: free_port(), child: None };
        postgres.restart();
        postgres
    }

    /// A migrated database on this server.
    pub async fn database(&self) -> Database {
        Database::on(self.port).await
    }

    /// The server's first process, whose children the others are.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Lets sessions from now on give way to all else on their core.
    pub fn be_yielding(&self) {
        let server = self.child.as_ref().expect("a running server").id().to_string();
        let told = Command::new("chrt").args(["--idle", "--pid", "0", &server]).status();
        assert!(told.is_ok_and(|status| status.success()), "chrt (Debian package util-linux) cannot change a child");
    }

    /// Starts the server again on its port, with its data.
    pub fn restart(&mut self) {
        self.stop();
        let mut command = as_postgres(&binary("postgres"));
        command
            .arg("-D")
            .arg(self.dir.join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&self.dir)
            // No fsync: the machine does not crash. But commits reach the kernel, because stories kill the server.
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=400", "-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        self.child = Some(command.spawn().expect("postgres starts"));
        eventually_blocking("PostgreSQL accepts connections", START_WITHIN, || is_ready(self.port).then_some(()));
    }

    /// Ends the server at once, as a crash would: its port refuses.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGQUIT is PostgreSQL's "immediate": no checkpoint, and no orphans as after SIGKILL.
            let quit = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            assert!(quit.is_ok_and(|status| status.success()), "PostgreSQL cannot be stopped");
            child.wait().expect("a stopped child ends");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        // What is left in a temporary folder does no harm; a second panic would hide the first.
        let _left = fs::remove_dir_all(&self.dir);
    }
}

/// The port of the run's server, which the first caller of the run starts.
async fn shared_port() -> u16 {
    let (run, watched) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (run, std::os::unix::process::parent_id()),
        Err(_) => (std::process::id().to_string(), std::process::id()),
    };
    let dir = std::env::temp_dir().join(format!("tollgate-tests-{run}"));
    fs::create_dir_all(&dir).expect("a temporary folder");
    let lock = File::create(dir.join("lock")).expect("a lock file");
    // Blocks this thread while another test starts the server: there is nothing else to do meanwhile.
    lock.lock().expect("the lock of the run's server");
    let port_file = dir.join("port");
    if let Ok(text) = fs::read_to_string(&port_file) {
        return text.parse().expect("a port");
    }
    let postgres = Postgres::start_in(dir.clone()).await;
    make_template(postgres.port).await;
    watch(watched, postgres.child.as_ref().expect("a running server").id(), &dir);
    let port = postgres.port;
    fs::write(port_file, port.to_string()).expect("the port is noted");
    // The server and its folder are the watcher's from here on.
    std::mem::forget(postgres);
    port
}

#[expect(clippy::zombie_processes, reason = "the watcher outlives this process; init waits for it")]
fn watch(watched: u32, server: u32, dir: &Path) {
    Command::new("sh")
        .args(["-c", WATCHER, "watcher", &watched.to_string(), &server.to_string()])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell");
}

async fn make_template(port: u16) {
    let mut admin = PgConnection::connect(&url(port, "postgres")).await.expect("PostgreSQL answers");
    let sql = format!("create database {TEMPLATE}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("an empty database");
    let options =
        tollgate_repository::Options { max_connections: 1, acquire_timeout: START_WITHIN, ..Default::default() };
    let repository = Repository::connect(&url(port, TEMPLATE), options).await.expect("a valid address");
    repository.migrate().await.expect("the migrations apply");
    repository.close().await;
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

fn init(data: &Path) {
    let made = as_postgres(&binary("initdb"))
        .arg("-D")
        .arg(data)
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("initdb starts");
    assert!(made.success(), "initdb failed: {made}");
}

fn is_ready(port: u16) -> bool {
    let asked = Command::new(binary("pg_isready"))
        .args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()])
        .status();
    asked.is_ok_and(|status| status.success())
}

/// The newest of Debian's installations, else whatever stands in `PATH`.
fn bin_dir() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("postgres").exists()).max();
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.or_else(|| std::env::split_paths(&path).find(|dir| dir.join("postgres").exists()))
}

fn binary(name: &str) -> PathBuf {
    bin_dir().expect("PostgreSQL is not installed: install the Debian package postgresql").join(name)
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn hand_over(dir: &Path) {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("the folder's rights");
    if is_root() {
        let handed = Command::new("chown").arg("postgres:postgres").arg(dir).status().expect("chown starts");
        assert!(handed.success(), "the user postgres does not exist: install the Debian package postgresql");
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

//! The PostgreSQL of a test run.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// A PostgreSQL in a temporary folder, reached through a socket there; ended when the last test lets go of it, or with
/// the thread that started it should the process be killed.
pub(crate) struct Server {
    pub(crate) files: TempDir,
    pid: u32,
    databases: AtomicU32,
    /// Dropped to end the server.
    alive: Option<mpsc::Sender<()>>,
    ended: Mutex<mpsc::Receiver<()>>,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub(crate) fn start() -> Self {
        let files = TempDir::new().unwrap();
        if as_root() {
            run(Command::new("chown").arg("postgres:postgres").arg(files.path()));
        }
        let data = files.path().join("data");
        // A locale that does not order by bytes, so that a text column whose order matters has to say so.
        run(postgres_command("initdb")
            .args(["--no-sync", "-U", "tollgate", "--auth=trust", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "-D"])
            .arg(&data));
        let mut command = postgres_command("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(files.path());
        command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"]);
        let (alive, until_dropped) = mpsc::channel::<()>();
        let (pid_of, pid) = mpsc::channel();
        let (ended_of, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            pid_of.send(child.id()).unwrap();
            let _ = until_dropped.recv();
            signal(child.id(), "QUIT");
            let _ = child.wait();
            let _ = ended_of.send(());
        });
        let pid = pid.recv().unwrap();
        let server = Self { files, pid, databases: AtomicU32::new(0), alive: Some(alive), ended: Mutex::new(ended) };
        server.wait_until_ready();
        server
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://tollgate@localhost/{database}?host={}", self.files.path().display())
    }

    /// Stops (`STOP`) or resumes (`CONT`) every process of the server.
    pub(crate) fn signal_all(&self, name: &str) {
        let children = Command::new("pgrep").arg("-P").arg(self.pid.to_string()).output().unwrap();
        signal(self.pid, name);
        String::from_utf8(children.stdout).unwrap().lines().for_each(|pid| signal(pid.parse().unwrap(), name));
    }

    pub(crate) async fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let text = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        self.url(&name)
    }

    fn wait_until_ready(&self) {
        let ready = || {
            Command::new(postgres_program("pg_isready"))
                .args(["-q", "-h"])
                .arg(self.files.path())
                .status()
                .unwrap()
                .success()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ready() {
            assert!(Instant::now() < deadline, "PostgreSQL did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread ends the server once the sender is gone; its folder must outlive it.
        drop(self.alive.take());
        let _ = self.ended.lock().unwrap().recv_timeout(Duration::from_secs(10));
    }
}

fn as_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// PostgreSQL refuses to run as root. The parent's death ends it too.
fn postgres_command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if as_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(postgres_program(program));
    command
}

/// From the PATH, else the newest version where Debian puts it.
fn postgres_program(program: &str) -> PathBuf {
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    let versions = || {
        let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path().join("bin").join(program))
            .filter(|file| file.is_file())
            .collect();
        found.sort();
        found.pop()
    };
    in_path.or_else(versions).unwrap_or_else(|| panic!("{program} is missing: install the Debian package `postgresql`"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

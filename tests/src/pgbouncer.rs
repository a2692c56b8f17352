//! A real PgBouncer in transaction mode before a PostgreSQL. The tests of `tollgate-repository` compile this file, too.

use std::{
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const START_WITHIN: Duration = Duration::from_secs(20);

/// One pooler, killed on drop. It has few connections to the server, so that its clients share them.
pub struct PgBouncer {
    port: u16,
    child: Child,
    _dir: TempDir,
}

impl PgBouncer {
    /// Whether this machine has a `pgbouncer`.
    pub fn is_installed() -> bool {
        Command::new("pgbouncer").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Starts one before every database of a server, `host=… port=… user=…`.
    pub fn before(server: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let file = dir.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
        );
        fs::write(&file, settings).expect("its settings");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the folder's rights");
        // It refuses to run as root: then it runs as the user that PostgreSQL's package made.
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let mut command = Command::new(if is_root { "setpriv" } else { "pgbouncer" });
        if is_root {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "pgbouncer"]);
        }
        command.arg("--quiet").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("pgbouncer starts (Debian package pgbouncer)");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > START_WITHIN || !matches!(child.try_wait(), Ok(None)) {
                let _killed = child.kill();
                let mut said = String::new();
                let _read = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
                panic!("pgbouncer does not start (Debian package pgbouncer): {said}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { port, child, _dir: dir }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

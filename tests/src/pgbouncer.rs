//! A real PgBouncer in transaction mode before a PostgreSQL. The tests of `tollgate-repository` compile this file, too.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::wait::{eventually_blocking, free_port};

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
        let port = free_port();
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
        command.arg("--quiet").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("pgbouncer starts (Debian package pgbouncer)");
        let pgbouncer = Self { port, child, _dir: dir };
        let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
        eventually_blocking("pgbouncer (Debian package pgbouncer) listens", START_WITHIN, listens);
        pgbouncer
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

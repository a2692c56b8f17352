//! A real PgBouncer in transaction mode before a PostgreSQL.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    account::unprivileged,
    guard::{EndWith, Guarded, Life},
    wait::{eventually_blocking, free_port},
};

const START_WITHIN: Duration = Duration::from_secs(20);

/// One pooler, killed on drop. It has few connections to the server, so that its clients share them.
pub struct PgBouncer {
    port: u16,
    _server: Guarded,
    _dir: TempDir,
}

impl PgBouncer {
    /// Whether this machine has a `pgbouncer`.
    pub fn is_installed() -> bool {
        Command::new("pgbouncer").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Starts one before every database of the server on `port`.
    pub fn before(port: u16) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let (server, port) = (format!("host=127.0.0.1 port={port} user=postgres"), free_port());
        let file = dir.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
        );
        fs::write(&file, settings).expect("its settings");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the folder's rights");
        let mut command = unprivileged("pgbouncer");
        command.arg("--quiet").arg(&file);
        let server = Guarded::spawn(&mut command, EndWith::Kill, Life::ThisProcess, dir.path());
        let server = server.expect("pgbouncer starts (Debian package pgbouncer)");
        let listens = || TcpStream::connect(("127.0.0.1", port)).ok();
        eventually_blocking("pgbouncer (Debian package pgbouncer) listens", START_WITHIN, listens);
        Self { port, _server: server, _dir: dir }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

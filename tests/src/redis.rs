//! A real `redis-server` on a free port, without persistence: stopped, it has forgotten everything.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::wait::{eventually_blocking, free_port};

/// A child takes milliseconds to answer; a loaded machine may need far longer.
const START_WITHIN: Duration = Duration::from_secs(20);

/// One server, killed on drop.
pub struct Redis {
    port: u16,
    child: Option<Child>,
    dir: TempDir,
}

impl Redis {
    /// Whether this machine has a `redis-server`.
    pub fn is_installed() -> bool {
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Starts a server.
    pub fn start() -> Self {
        let mut redis = Self { port: free_port(), child: None, dir: TempDir::new().expect("a temporary folder") };
        redis.restart();
        redis
    }

    /// Starts the server again on its port, empty.
    pub fn restart(&mut self) {
        self.stop();
        // What a story saved to look at is no persistence.
        let _none = std::fs::remove_file(self.dir.path().join("dump.rdb"));
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--rdbcompression", "no", "--loglevel", "warning", "--dir"])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(match child {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("redis-server is not installed: install the Debian package redis-server")
            }
            Err(error) => panic!("redis-server does not start: {error}"),
        });
        eventually_blocking("redis-server answers", START_WITHIN, || self.try_command("PING"));
    }

    /// Kills the server: its port refuses.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Where one of its sixteen databases is.
    pub fn url(&self, database: u8) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, for its processor time.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// All that it holds, as it would be written to a disk.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.command("SAVE"), "+OK");
        std::fs::read(self.dir.path().join("dump.rdb")).expect("a saved dump")
    }

    /// Sends an inline command and returns the first line of the answer.
    pub fn command(&self, line: &str) -> String {
        self.try_command(line).unwrap_or_else(|| panic!("redis-server does not answer {line}"))
    }

    fn try_command(&self, line: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        socket.set_read_timeout(Some(START_WITHIN)).ok()?;
        socket.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).ok()?;
        (!answer.is_empty()).then(|| answer.trim_end().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

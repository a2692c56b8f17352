//! A real `redis-server` on a free port, without persistence: stopped, it has forgotten everything.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::{
    guard::{EndWith, Guarded, Life, signal},
    wait::free_port,
};

/// A child takes milliseconds to answer; a loaded machine may need far longer.
const START_WITHIN: Duration = Duration::from_secs(20);
/// Another process may take a free port before the server binds it: then it ends, and the next port is tried.
const PORTS: u32 = 20;

/// One server, killed on drop.
pub struct Redis {
    server: Option<Guarded>,
    port: u16,
    arguments: Vec<String>,
    dir: TempDir,
}

impl Redis {
    /// Whether this machine has a `redis-server`.
    pub fn is_installed() -> bool {
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    /// Starts a server.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments; a file of settings has to be the first. It answers without TLS, too.
    pub fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let dir = TempDir::new().expect("a temporary folder");
        let mut redis = Self { server: None, port: 0, arguments, dir };
        for _ in 0..PORTS {
            redis.port = free_port();
            if redis.try_start() {
                return redis;
            }
        }
        panic!("redis-server does not start on any of {PORTS} ports with {:?}", redis.arguments);
    }

    /// Starts the server again on its port, empty.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.try_start(), "redis-server does not come back on port {}", self.port);
    }

    /// Whether the server came to answer. It ends when the port is taken.
    fn try_start(&mut self) -> bool {
        // What a test saved to look at is no persistence.
        let _none = std::fs::remove_file(self.dir.path().join("dump.rdb"));
        let has_file = self.arguments.first().is_some_and(|first| !first.starts_with('-'));
        let (file, options) = self.arguments.split_at(usize::from(has_file));
        let mut command = Command::new("redis-server");
        command
            .args(file)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--rdbcompression", "no", "--loglevel", "warning", "--dir"])
            .arg(self.dir.path())
            .args(options);
        let started = Guarded::spawn(&mut command, EndWith::Kill, Life::ThisProcess, self.dir.path());
        let server = self.server.insert(match started {
            Ok(server) => server,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("redis-server is not installed: install the Debian package redis-server")
            }
            Err(error) => panic!("redis-server does not start: {error}"),
        });
        let (itself, started) = (format!("process_id:{}", server.id()), Instant::now());
        let is_answer = |line: &String| line.starts_with("process_id:") || line.starts_with('-');
        while started.elapsed() < START_WITHIN && !server.has_ended() {
            // Another server may have the port, and answer while this one ends.
            let answer = lines(self.port, "INFO server").and_then(|mut lines| lines.find(is_answer));
            if answer.is_some_and(|line| line == itself) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Kills the server: its port refuses.
    pub fn stop(&mut self) {
        drop(self.server.take());
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Where one of its sixteen databases is.
    pub fn url_of(&self, database: u8) -> String {
        format!("{}{database}", self.url())
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, for its processor time.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("a running server").id()
    }

    /// Sends a signal, such as `STOP`, to the server.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// All that it holds, as it would be written to a disk.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.command("SAVE"), "+OK");
        std::fs::read(self.dir.path().join("dump.rdb")).expect("a saved dump")
    }

    /// Sends an inline command over a connection of its own and returns the first line of the answer.
    pub fn command(&self, line: &str) -> String {
        let answer = lines(self.port, line).and_then(|mut lines| lines.next());
        answer.unwrap_or_else(|| panic!("redis-server does not answer {line}"))
    }

    /// Another connection than those of what is tested.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).expect("a valid address");
        client.get_multiplexed_async_connection().await.expect("redis-server answers")
    }

    /// Runs one command given in words.
    pub async fn query<T: FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split_whitespace();
        let mut command = redis::cmd(words.next().expect("a command"));
        command.arg(words.collect::<Vec<_>>());
        command.query_async(&mut self.connection().await).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

/// The lines that answer an inline command; the last of them never comes, for the connection stays open.
fn lines(port: u16, command: &str) -> Option<impl Iterator<Item = String>> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(START_WITHIN)).ok()?;
    socket.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    Some(BufReader::new(socket).lines().map_while(Result::ok))
}

//! A real Redis for one test: its own port and directory, killed when dropped.

use std::{
    io::ErrorKind,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A server of its own. Keeps nothing over a restart.
pub(crate) struct RedisServer {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl RedisServer {
    /// Returns when it answers.
    pub(crate) async fn start() -> Self {
        let mut directory = tempfile::tempdir().unwrap();
        // A free port may be taken by another test before the server binds it: then the next one.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = spawn(&directory, port);
            let mut server = Self { directory, port, child };
            if server.answers().await {
                return server;
            }
            server.kill();
            directory = std::mem::replace(&mut server.directory, tempfile::tempdir().unwrap());
        }
        panic!("redis-server did not start on any of 20 ports");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, with its data.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.directory, self.port);
        assert!(self.answers().await, "redis-server did not come back on port {}", self.port);
    }

    /// Another connection than the queue's own.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Runs one command given in words.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split_whitespace();
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    /// Whether this very process answers, and not another on the same port.
    async fn answers(&mut self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let mut info = redis::cmd("INFO");
                let info: String = info.arg("server").query_async(&mut connection).await.unwrap();
                return info.contains(&format!("process_id:{}\r\n", self.child.id()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &TempDir, port: u16) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("these tests need redis-server: install the Debian package `redis-server`"),
            _ => panic!("redis-server cannot be started: {error}"),
        })
}

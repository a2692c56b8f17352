//! The bare handler as a process.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tollgate_tests::{
    answer::Answer,
    process::pinned,
    wait::{eventually_blocking, free_port},
};

use crate::shapes::SERVER_CORE;

/// Headers that hyper writes by itself.
const OF_HYPER: [&str; 3] = ["content-length", "date", "connection"];

/// The files that the handlers read: the body and the headers of one of the service's answers.
pub(crate) struct Bytes {
    dir: TempDir,
}

/// A handler, killed on drop.
pub(crate) struct Bare {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Bytes {
    /// Keeps an answer's bytes.
    pub(crate) fn of(answer: &Answer) -> Self {
        let bytes = Self { dir: TempDir::new().expect("a temporary folder") };
        let names = answer.headers.keys().map(|name| name.as_str()).filter(|name| !OF_HYPER.contains(name));
        let headers: Vec<_> = names.map(|name| format!("{name}: {}", answer.header(name))).collect();
        let only_type = format!("content-type: {}", answer.header("content-type"));
        for (name, text) in [("body", &answer.text), ("headers", &headers.join("\n")), ("type", &only_type)] {
            std::fs::write(bytes.path(name), text).expect("a temporary file");
        }
        bytes
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A handler that answers body and headers.
    pub(crate) fn all(&self) -> Bare {
        self.start("headers", None)
    }

    /// A handler that answers the body.
    pub(crate) fn body(&self) -> Bare {
        self.start("type", None)
    }

    /// A handler that answers body and headers, and counts each request on Redis first.
    pub(crate) fn counted(&self, redis: &str) -> Bare {
        self.start("headers", Some(redis))
    }

    fn start(&self, headers: &str, redis: Option<&str>) -> Bare {
        let port = free_port();
        let mut command = pinned(SERVER_CORE, "bare");
        command.arg(port.to_string()).arg(self.path("body")).arg(self.path(headers)).args(redis).stdin(Stdio::null());
        let child = command.spawn().expect("taskset starts the bare handler");
        let bare = Bare { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        eventually_blocking("the bare handler listens", Duration::from_secs(10), || {
            TcpStream::connect(bare.address).ok()
        });
        bare
    }
}

impl Bare {
    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

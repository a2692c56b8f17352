//! A socket that sends exactly the bytes a story wants, and reads what is answered as they come.

use std::{io, net::SocketAddr, time::Duration};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::answer::Answer;

/// No answer, and no end of the connection, takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection and what of its input is not consumed yet.
pub struct Raw {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Raw {
    /// Connects to `base`, such as `http://127.0.0.1:8080`.
    pub async fn connect(base: &str) -> Self {
        Self::connect_from("127.0.0.1", base).await.expect("a connection")
    }

    /// The same from an address of its own, such as `127.0.0.2`.
    pub async fn connect_from(from: &str, base: &str) -> io::Result<Self> {
        let address: SocketAddr = base.trim_start_matches("http://").parse().expect("an address and port");
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().expect("an address"), 0))?;
        let socket = socket.connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, input: Vec::new() })
    }

    /// Sends as much as the service takes: it may close while it is still written to.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = self.socket.write_all(bytes.as_ref()).await;
    }

    /// The next response, none when the connection ends before one.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.take_answer() {
                return Some(answer);
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    /// Whether the service has closed the connection, or does so without saying more.
    pub async fn is_closed(&mut self) -> bool {
        self.input.is_empty() && self.read().await == 0
    }

    /// Whether it is open and silent now.
    pub fn is_open(&self) -> bool {
        matches!(self.socket.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// A reset counts as an end.
    async fn read(&mut self) -> usize {
        let read = self.socket.read_buf(&mut self.input);
        timeout(PATIENCE, read).await.expect("an answer or an end in time").unwrap_or(0)
    }

    fn take_answer(&mut self) -> Option<Answer> {
        let head_ends = self.input.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.input[..head_ends]).expect("a head in ASCII");
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: HeaderMap = lines.filter_map(|line| line.split_once(": ")).map(field).collect();
        let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let ends = head_ends + length;
        let body = self.input.get(head_ends..ends)?;
        let text = String::from_utf8(body.to_vec()).expect("a body in UTF-8");
        self.input.drain(..ends);
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Some(Answer { status, headers, text, body })
    }
}

fn field((name, value): (&str, &str)) -> (HeaderName, HeaderValue) {
    (name.parse().expect("a header's name"), value.parse().expect("a header's value"))
}

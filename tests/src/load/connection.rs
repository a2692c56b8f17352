//! One keep-alive connection that speaks just enough HTTP/1.1 for one route.

use std::{io, net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ROUTE: &str = "/api/public/v1/rate-limit/validate";
const BODY: &str = r#"{"endpoint":"/v1/messages","method":"POST"}"#;
/// A decision is about 1 KiB with its headers.
const BUFFER: usize = 16 * 1024;

/// The bytes of a check for each key.
pub fn requests(keys: &[String]) -> Vec<Vec<u8>> {
    let request = |key: &String| {
        format!(
            "POST {ROUTE} HTTP/1.1\r\nhost: tollgate\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        )
    };
    keys.iter().map(|key| request(key).into_bytes()).collect()
}

/// A connection, and what its answers were.
pub(super) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    status: String,
    /// Microseconds of each answer.
    pub(super) micros: Vec<u32>,
    /// Answers with another status than the expected one.
    pub(super) failed: usize,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr, status: u16) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let status = format!("HTTP/1.1 {status} ");
        Ok(Self { socket, buffer: vec![0; BUFFER], status, micros: Vec::with_capacity(1 << 12), failed: 0 })
    }

    /// Sends a request that was due at `due` and waits for its answer. Returns when it came.
    pub(super) async fn ask(&mut self, request: &[u8], due: Instant) -> io::Result<Instant> {
        self.socket.write_all(request).await?;
        self.failed += usize::from(!self.answer().await?);
        let received = Instant::now();
        self.micros.push(u32::try_from((received - due).as_micros()).unwrap_or(u32::MAX));
        Ok(received)
    }

    /// Reads one response with a `Content-Length`; whether its status is the expected one.
    async fn answer(&mut self) -> io::Result<bool> {
        let mut filled = 0;
        let mut whole = None;
        loop {
            let read = self.socket.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if whole.is_none() {
                whole = length(&self.buffer[..filled]);
            }
            if whole.is_some_and(|whole| filled >= whole) {
                return Ok(self.buffer.starts_with(self.status.as_bytes()));
            }
        }
    }
}

/// The bytes of the whole response, once its head is complete.
fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let is_length = |line: &&str| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:"));
    let line = text.lines().find(is_length)?;
    Some(head + line[15..].trim().parse::<usize>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_as_long_as_its_head_says() {
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Some(40));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\ncontent-le"), None);
    }
}

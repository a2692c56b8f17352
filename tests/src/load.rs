//! A load generator: keep-alive connections that each send a request as soon as the last one was answered.
//!
//! It speaks just enough HTTP/1.1 for one route, so that it costs less than what it measures.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

const ROUTE: &str = "/api/public/v1/rate-limit/validate";
const BODY: &str = r#"{"endpoint":"/v1/messages","method":"POST"}"#;

/// What one span of load saw.
#[derive(Debug)]
pub struct Seen {
    /// Answers per second.
    pub per_second: f64,
    /// Answers.
    pub answers: usize,
    /// Answers other than 200.
    pub failed: usize,
    /// Half of the answers came within this.
    pub p50: Duration,
    /// 99 of 100 answers came within this.
    pub p99: Duration,
}

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

/// Loads `address` over `connections` for `span`, each connection with its own share of `requests` in turn.
pub async fn drive(
    address: SocketAddr,
    requests: Rc<Vec<Vec<u8>>>,
    connections: usize,
    span: Duration,
) -> io::Result<Seen> {
    let started = Instant::now();
    let tasks = LocalSet::new();
    let one = |first| tasks.spawn_local(connection(address, Rc::clone(&requests), first, connections, started + span));
    let running: Vec<_> = (0..connections).map(one).collect();
    tasks.await;
    let (mut micros, mut failed) = (Vec::new(), 0);
    for task in running {
        let (of_one, failed_of_one) = task.await.map_err(io::Error::other)??;
        micros.extend(of_one);
        failed += failed_of_one;
    }
    let elapsed = started.elapsed();
    micros.sort_unstable();
    let quantile = |q: f64| {
        let at = ((micros.len() as f64 * q) as usize).min(micros.len().saturating_sub(1));
        Duration::from_micros(u64::from(micros.get(at).copied().unwrap_or(0)))
    };
    let per_second = micros.len() as f64 / elapsed.as_secs_f64();
    Ok(Seen { per_second, answers: micros.len(), failed, p50: quantile(0.5), p99: quantile(0.99) })
}

/// Each answer's microseconds, and how many were not 200.
async fn connection(
    address: SocketAddr,
    requests: Rc<Vec<Vec<u8>>>,
    first: usize,
    step: usize,
    until: Instant,
) -> io::Result<(Vec<u32>, usize)> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let (mut micros, mut failed, mut next) = (Vec::with_capacity(1 << 16), 0, first % requests.len());
    let mut sent = Instant::now();
    while sent < until {
        socket.write_all(&requests[next]).await?;
        let ok = answer(&mut socket, &mut buffer).await?;
        let received = Instant::now();
        micros.push(u32::try_from((received - sent).as_micros()).unwrap_or(u32::MAX));
        failed += usize::from(!ok);
        sent = received;
        next += step;
        if next >= requests.len() {
            next = first % requests.len();
        }
    }
    Ok((micros, failed))
}

/// Reads one response with a `Content-Length`; whether its status is 200.
async fn answer(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    let mut whole = None;
    loop {
        let read = socket.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if whole.is_none() {
            whole = length(&buffer[..filled]);
        }
        if whole.is_some_and(|whole| filled >= whole) {
            return Ok(buffer.starts_with(b"HTTP/1.1 200"));
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

/// Processor time a process has used, from `/proc`. The kernel counts it in ticks of 10 ms.
pub fn cpu(pid: u32) -> Duration {
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The command, in parentheses, may hold spaces: fields are counted after it. utime and stime are the 14th and 15th.
    let fields = stat.rsplit_once(')').expect("a command in parentheses").1;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
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

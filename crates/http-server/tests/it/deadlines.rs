//! Who says nothing, or too little at a time, is closed.

use std::time::{Duration, Instant};

use axum::{Router, body::Body, routing::get};
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{sleep, timeout},
};
use tollgate_http_server::Limits;

use super::{LONG, REQUEST, closed_after, hello, is_answered, limits, read_until, response, send, start};

#[tokio::test]
async fn a_socket_that_says_nothing_is_closed_within_the_header_timeout() {
    let server = start(limits(), hello()).await;
    let mut socket = server.connect().await;
    let after = closed_after(&mut socket).await;
    assert!(after > Duration::from_millis(300) && after < LONG, "{after:?}");
}

#[tokio::test]
async fn headers_that_come_byte_by_byte_do_not_move_the_deadline() {
    let server = start(limits(), hello()).await;
    let (mut reader, mut writer) = server.connect().await.into_split();
    let dripping = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a')) {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(25)).await;
        }
    });
    let start = Instant::now();
    let mut buffer = [0; 64];
    while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    dripping.await.unwrap();
}

#[tokio::test]
async fn half_a_head_behind_a_request_has_no_longer_than_another() {
    let server = start(Limits { idle_timeout: Duration::from_secs(60), ..limits() }, hello()).await;
    let mut socket = server.connect().await;
    send(&mut socket, [REQUEST, b"GET / HT"].concat()).await;
    assert!(response(&mut socket).await.ends_with("hello"));
    assert!(closed_after(&mut socket).await < LONG);
}

#[tokio::test]
async fn a_connection_rests_between_requests_for_the_idle_timeout() {
    let server = start(Limits { idle_timeout: Duration::from_secs(2), ..limits() }, hello()).await;
    let mut socket = server.connect().await;
    for _ in 0..2 {
        is_answered(&mut socket).await;
        // A socket that came later and says nothing has had its time for a head: so the first one rests for longer than that.
        closed_after(&mut server.connect().await).await;
    }
    is_answered(&mut socket).await;
    let after = closed_after(&mut socket).await;
    assert!(after > Duration::from_millis(1_500) && after < LONG, "{after:?}");
}

#[tokio::test]
async fn an_answer_that_moves_may_take_longer_than_one_that_does_not() {
    let parts = || async {
        Body::from_stream(stream::unfold(0, |sent| async move {
            sleep(Duration::from_millis(100)).await;
            let part = if sent == 20 { "hello" } else { "." };
            (sent <= 20).then_some((Ok::<_, std::io::Error>(part), sent + 1))
        }))
    };
    let limits = Limits { answer_timeout: Duration::from_secs(1), ..limits() };
    let server = start(limits, Router::new().route("/", get(parts))).await;
    let mut socket = server.connect().await;
    send(&mut socket, REQUEST).await;
    let answer = read_until(&mut socket, "0\r\n\r\n").await;
    assert!(answer.ends_with("hello\r\n0\r\n\r\n"), "{answer}");
}

struct SaysWhenDropped(mpsc::UnboundedSender<()>);

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_streamed_answer_that_nobody_reads_is_ended() {
    let (sender, mut ended) = mpsc::unbounded_channel();
    let endless = || async move {
        Body::from_stream(stream::unfold(SaysWhenDropped(sender), |guard| async {
            Some((Ok::<_, std::io::Error>(vec![b'.'; 64 * 1_024]), guard))
        }))
    };
    let limits = Limits { answer_timeout: Duration::from_secs(1), ..limits() };
    let server = start(limits, Router::new().route("/", get(endless))).await;
    let mut socket = server.connect().await;
    send(&mut socket, REQUEST).await;
    assert_eq!(timeout(LONG, ended.recv()).await, Ok(Some(())));
}

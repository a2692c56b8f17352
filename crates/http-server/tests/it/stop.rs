//! A stop finishes what is in flight and waits for nothing else.

use std::time::Duration;

use tokio::{net::TcpStream, time::timeout};
use tollgate_http_server::Limits;

use super::{SLOW_REQUEST, closed_after, is_answered, limits, response, send, slow, start};

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let (slow, begun, go_on) = slow();
    let server = start(Limits { idle_timeout: Duration::from_secs(60), ..limits() }, slow).await;
    let mut idle = server.connect().await;
    is_answered(&mut idle).await;
    let mut busy = server.connect().await;
    send(&mut busy, SLOW_REQUEST).await;
    begun.notified().await;

    server.stop.send(()).unwrap();
    closed_after(&mut idle).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "still accepting");
    assert!(!server.serving.is_finished());
    go_on.notify_one();
    let answer = response(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    timeout(Duration::from_secs(2), server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_a_stop() {
    let (never, begun, _go_on) = slow();
    let server = start(Limits { stop_timeout: Duration::from_millis(200), ..limits() }, never).await;
    let mut socket = server.connect().await;
    send(&mut socket, SLOW_REQUEST).await;
    begun.notified().await;
    server.stop.send(()).unwrap();
    timeout(Duration::from_secs(2), server.serving).await.unwrap().unwrap();
    closed_after(&mut socket).await;
}

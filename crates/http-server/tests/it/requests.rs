//! What is read as a request, and answers that leave whole.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, routing::get};
use futures_util::StreamExt;
use tokio::sync::Notify;

use super::{REQUEST, hello, is_answered, limits, read_until, response, send, start};

#[tokio::test]
async fn hostile_requests_are_refused_by_the_parser() {
    let server = start(limits(), hello()).await;
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n".to_owned(), "400"),
        ("GET\0 / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(40_000)), "431"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: 1\r\n".repeat(101)), "431"),
    ] {
        let mut socket = server.connect().await;
        send(&mut socket, &request).await;
        let answer = response(&mut socket).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{}: {answer}", &request[..30]);
    }
}

#[tokio::test]
async fn a_refusal_is_a_whole_response_and_the_last_one() {
    let server = start(limits(), hello()).await;
    for (request, status, text) in [
        ("nonsense\r\n\r\n", "400 Bad Request", "this cannot be read as an HTTP/1.1 request: "),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request", "HTTP/1.1 needs the header Host"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
            "413 Payload Too Large",
            "the body is too large",
        ),
    ] {
        let mut socket = server.connect().await;
        send(&mut socket, request).await;
        let answer = read_until(&mut socket, "until it is closed").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        for field in ["content-type: text/plain; charset=utf-8", "connection: close", "date: ", "GMT"] {
            assert!(head.contains(field), "{field}: {answer}");
        }
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        assert!(body.starts_with(text), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_in_pieces_leaves_whole_and_each_piece_at_once() {
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let pieces = get(move || async move {
        let pieces = futures_util::stream::iter(["one ", "two ", "hello"]).then(move |piece| {
            let waits = Arc::clone(&waits);
            async move {
                waits.notified().await;
                Ok::<_, Infallible>(piece)
            }
        });
        Body::from_stream(pieces)
    });
    let server = start(limits(), Router::new().route("/", pieces)).await;
    let mut socket = server.connect().await;
    send(&mut socket, "GET / HTTP/1.0\r\n\r\n").await;
    for piece in ["one ", "two ", "hello"] {
        go_on.notify_one();
        assert!(read_until(&mut socket, piece).await.ends_with(piece), "{piece}");
    }
}

#[tokio::test]
async fn nothing_is_read_after_a_request_with_two_lengths() {
    let server = start(limits(), hello()).await;
    let mut socket = server.connect().await;
    let both = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    send(&mut socket, both).await;
    send(&mut socket, REQUEST).await;
    let answers = response(&mut socket).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
}

#[tokio::test]
async fn ten_thousand_keep_alive_requests_on_a_few_connections_are_all_answered() {
    let server = start(limits(), hello()).await;
    let clients = (0..4).map(|_| async {
        let mut socket = server.connect().await;
        for _ in 0..2_500 {
            is_answered(&mut socket).await;
        }
    });
    futures_util::future::join_all(clients).await;
}

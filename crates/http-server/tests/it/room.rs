//! Caps on connections: who waits, who is refused and who makes way.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, time::timeout};
use tollgate_http_server::{ConnectionObserver, Limits, Plain, Server, TurnedAway};

use super::{REQUEST, SLOW_REQUEST, closed_after, hello, is_answered, limits, response, send, slow, start};

/// Time stands still while the server has something to do, and passes at once when all wait: a pause is over when nothing
/// has happened in it and nothing will.
#[tokio::test(start_paused = true)]
async fn connections_over_the_cap_wait_while_all_are_busy() {
    let (slow, begun, go_on) = slow();
    let server = start(Limits { max_connections: 1, ..limits() }, slow).await;
    let mut first = server.connect().await;
    send(&mut first, SLOW_REQUEST).await;
    begun.notified().await;
    let mut second = server.connect().await;
    send(&mut second, REQUEST).await;
    assert!(timeout(Duration::from_secs(1), response(&mut second)).await.is_err(), "served beyond the cap");
    go_on.notify_one();
    assert!(response(&mut first).await.ends_with("hello"));
    assert!(response(&mut second).await.ends_with("hello"), "what is idle makes way");
    closed_after(&mut first).await;
}

/// What an observer was told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn tell(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }
}

impl ConnectionObserver for Told {
    fn opened(&self) {
        self.tell("opened");
    }

    fn closed(&self) {
        self.tell("closed");
    }

    fn refused(&self) {
        self.tell("refused");
    }

    fn displaced(&self) {
        self.tell("displaced");
    }

    fn turned_away(&self, those: &TurnedAway, _limits: &Limits) {
        self.tell(format!("{} and {} of {}", those.refused, those.displaced, those.open));
    }
}

#[tokio::test]
async fn an_observer_is_told_of_each_connection_and_of_those_turned_away() {
    let told = Told::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { max_per_address: 1, ..limits() };
    let server = Server::new(Plain(hello()), limits).observed_by(told.clone());
    let serving = tokio::spawn(server.serve(listener, std::future::pending()));
    let connect = async || tokio::net::TcpStream::connect(address).await.unwrap();
    let mut first = connect().await;
    is_answered(&mut first).await;
    closed_after(&mut connect().await).await;
    closed_after(&mut first).await;
    serving.abort();
    let told = told.0.lock().unwrap().clone();
    assert_eq!(told, ["opened", "refused", "1 and 0 of 1", "closed"]);
}

#[tokio::test]
async fn an_exempt_network_has_any_number_of_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { max_per_address: 1, ..limits() };
    let server = Server::new(Plain(hello()), limits).exempting(vec!["127.0.0.0/8".parse().unwrap()]);
    tokio::spawn(server.serve(listener, std::future::pending()));
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        is_answered(&mut socket).await;
        sockets.push(socket);
    }
}
